"""`--video`, `--camera` and `--trace` of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.reports import report
from envs import render

CARTPOLE = "dm_control/cartpole-swingup-v0"
SMALL = ("--task", CARTPOLE, "--frames", 3, "--planner.horizon", 4, "--planner.budget.evaluations", 8)


def test_every_episode_is_filmed_on_request(
    telos: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "write_report", lambda rundir: rundir.path)  # its plots take seconds
    out = tmp_path / "run"
    wanted = ("--video", "all", "--camera", "lookatcart", "--trace", "true", "--video.size", "[64, 48]")
    done = telos("run", *SMALL, "--episodes", 2, *wanted, "--out", out)
    assert done.status == 0, done.err
    videos = sorted(file.name for file in (out / "video").glob("*.mp4"))
    if render.backend() and render.ffmpeg():
        assert videos == ["episode-0000.mp4", "episode-0001.mp4"]
        import imageio_ffmpeg

        meta = next(imageio_ffmpeg.read_frames(str(out / "video" / videos[1])))
        assert meta["size"] == (64, 48)
    else:
        assert videos == []
        assert done.err.count("no video:") == 1, "said once"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--camera", "lookatcar"),
            "camera: given 'lookatcar'; did you mean 'lookatcart'?; allowed: fixed, lookatcart, auto, or 0 to 1",
        ),
        (("--camera", 2), "camera: given 2; allowed: fixed, lookatcart, auto, or 0 to 1"),
        (("--camera", "true"), "config.video.camera: given True; allowed: a camera's name or index"),
        (("--video", "al"), "config.video.which: given 'al'; did you mean 'all'?; allowed: none, first, all"),
        (("--video", 1), "config.video.which: given 1"),
        (("--trace", 1), "config.video.trace: given 1"),
        (("--trace",), "--trace: given nothing"),
        (("--video.size", "[33, 32]"), "config.video.size[0]: given 33; allowed: a multiple of 2"),
        (("--video.size", "[8, 32]"), "config.video.size[0]: given 8"),
        (("--video", "{camra: fixed}"), "config.video.camra: given an unknown key"),
        (("--camra", "fixed"), "did you mean '--camera'?"),
        (("--video", "all", "--video.which", "all"), "twice"),
        (("--camera", "fixed", "--video.camera", "fixed"), "twice"),
    ],
)
def test_what_cannot_be_filmed_is_one_line(
    telos: Callable[..., Any], tmp_path: Path, words: tuple[Any, ...], said: str
) -> None:
    done = telos("run", *SMALL, *words, "--out", tmp_path / "run")
    assert done.status == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
