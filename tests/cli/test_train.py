"""`telos train`, `collect` and `data`: what they write, what a run with a trained model says, errors in one line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.learning.traindir import TrainDir
from agent.memory.store import Store
from agent.runs.rundir import RunDir
from benchmarks.worldmodels.kills import outcome
from tests.learning.conftest import SMALL
from worldmodels.checkpoint import Checkpoint

pytestmark = pytest.mark.xdist_group("train")  # one process trains what all of these tests read
FLAGS = [word for key, value in SMALL.items() for word in (f"--{key}", yaml.safe_dump(value).split("\n...")[0].strip())]
GOAL = ("--goal", "joint_velocity/wrist = 0 +- 5", "--frames", "8")


@pytest.fixture(scope="module")
def training(telos: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A training's directory, and what the command printed."""
    path = tmp_path_factory.mktemp("trained") / "arm"
    done = telos("train", "quickstart", *FLAGS, "--out", path)
    assert done.status == 0, done.err
    assert done.out.strip() == str(path / "report.html")
    return path, done


@pytest.fixture
def trained(training: tuple[Path, Any]) -> Path:
    """The directory; tests must not write to it."""
    return training[0]


def test_the_console_says_what_was_learned(training: tuple[Path, Any]) -> None:
    lines = training[1].err.splitlines()
    assert "MB on disk" in lines[0]
    assert lines[1].startswith("random: ")
    assert lines[2].startswith("simulator: ")
    assert [line.split(" frames")[0] for line in lines if "steps ahead reached" in line] == ["150", "300"]


def test_the_report_shows_the_curve_and_where_it_comes_from(trained: Path) -> None:
    text = (trained / "report.html").read_text()
    assert text.count("data:image/png") == 4
    assert Checkpoint.read(trained).sha256 in text
    assert "telos run --model" in text
    assert "simulator" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_a_report_is_written_again(telos: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "arm")
    (copy / "report.html").unlink()
    assert telos("report", copy).status == 0
    assert (copy / "report.html").is_file()


def test_a_run_with_the_model_names_it(telos: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    done = telos("run", "--model", trained, *GOAL, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    run = RunDir.open(tmp_path / "run")
    (row,) = run.rows()
    sha256 = Checkpoint.read(trained).sha256
    assert (row.world_model, row.model_sha256, row.privileged) == ("checkpoint", sha256, False)
    assert run.manifest.files_sha256 == {"world_model.file": sha256}
    assert row.reached["share"] > 0


def test_a_run_whose_model_has_changed_is_not_resumed(telos: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "arm")
    telos("run", "--model", copy, *GOAL, "--out", tmp_path / "run")
    model = Checkpoint.read(copy)
    other = Checkpoint(model.header.model_copy(update={"seed": 7}), model.tensors)
    assert other.written(copy / "model.safetensors").sha256 != model.sha256
    done = telos("resume", tmp_path / "run")
    assert done.status == 2
    assert "world_model.file" in done.err


def test_workers_elsewhere_get_the_model_with_the_parcel(
    telos: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    from agent.rollouts.parcel import opened, sealed

    copy = shutil.copytree(trained, tmp_path / "arm")
    telos("run", "--model", copy, *GOAL, "--out", tmp_path / "run")
    parcel = sealed(RunDir.open(tmp_path / "run").config)
    shutil.rmtree(copy)
    there = Path(opened(parcel, parcel.sha256).config.world_model.file)  # type: ignore[union-attr]
    assert there != copy / "model.safetensors"
    assert Checkpoint.read(there).sha256 == Checkpoint.read(trained).sha256


def test_the_imagined_path_of_a_learned_model_is_that_of_its_signals(
    telos: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    import torch

    from agent.rollouts.player import made
    from agent.rollouts.trace import Tracer
    from envs.percept import features
    from worldmodels.belief import Belief

    assert telos("run", "--model", trained, *GOAL, "--out", tmp_path / "run").status == 0
    config = RunDir.open(tmp_path / "run").config
    agent, world = made(config)
    start = Belief(None, features(world.reset(0).observation))
    actions = torch.zeros(5, 2, dtype=torch.float64)
    (path,) = Tracer(config, world.env, ()).paths(start, actions)
    wanted = agent.model.imagine(start, actions[None]).signals.state["body_position/hand"][0]
    assert path.shape == (6, 3)
    assert path == pytest.approx(wanted.double().numpy())


def test_the_same_seed_gives_the_same_run(telos: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    rows = []
    for name in ("one", "other"):
        assert telos("run", "--model", trained, *GOAL, "--out", tmp_path / name).status == 0
        (row,) = RunDir.open(tmp_path / name).rows()
        rows.append(RunDir.open(tmp_path / name).steps(0).action.tobytes() + str(row.return_).encode())
    assert rows[0] == rows[1]


def test_interrupted_and_resumed_it_ends_as_if_it_had_not_been(
    telos: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "arm"
    command = [sys.executable, "-m", "agent.command.cli", "train", "quickstart", *FLAGS, "--out", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("150 frames"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert f"go on with: telos resume {path}" in rest
    assert len(TrainDir.open(path).lines("curve")) == 1
    assert telos("resume", path).status == 0
    assert outcome(path) == outcome(trained)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "quickstrat"), "did you mean 'quickstart'"),
        (("train", "quickstart", "--framse", "3"), "did you mean '--frames'"),
        (("train", "quickstart", "--model.latnt", "3"), "did you mean 'latent'"),
        (("train", "quickstart", "--frames"), "nothing"),
        (("train",), "RECIPE"),
        (("run", "--model", "nowhere"), "a directory of `telos train`"),
        (("resume", "TRAINED", "--workers", "2"), "a training goes on as it began"),
        (("run", "--model", "TRAINED"), "--goal"),
        (("run", "--model", "TRAINED", "--goal", "joint_position/wrist = 0 ± 1"), "joint_velocity/shoulder"),
        (("run", "--model", "TRAINED", "--task", "dm_control/reacher-hard-v0"), "which the model was trained on"),
        (("collect", "--task", "dm_control/reacher-easy-v0", "--by", "curiousity"), "did you mean 'curiosity'"),
        (("data", "card", "nowhere"), "no such directory"),
        (("data", "import", "nowhere"), "--to DIR"),
        (("data", "card", "TRAINED/store", "--to", "x"), "with export or import"),
        (("data", "exprot", "x"), "did you mean 'export'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    telos: Callable[..., Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = telos(*(word.replace("TRAINED", str(trained)) for word in words))
    assert done.status == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_collection_goes_on_where_it_stopped(telos: Callable[..., Any], tmp_path: Path) -> None:
    words = ("collect", "--task", "dm_control/reacher-easy-v0", "--steps", "60", "--frames", "20", "--out")
    assert telos(*words, tmp_path / "whole").status == 0
    assert telos(*words, tmp_path / "part").status == 0
    part = Store.open(tmp_path / "part")
    part.cut(1)
    assert telos(*words, part.path).status == 0
    assert Store.open(part.path).sha256 == Store.open(tmp_path / "whole").sha256
    other = telos(*words, part.path, "--seed", "1")
    assert other.status == 2
    assert "another collection" in other.err


def test_a_store_goes_to_minari_and_back(telos: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    assert telos("data", "export", trained / "store", "--to", tmp_path / "out").status == 0
    done = telos("data", "import", tmp_path / "out", "--task", "dm_control/reacher-easy-v0", "--to", tmp_path / "again")
    assert done.status == 0, done.err
    card = telos("data", "card", tmp_path / "again").out
    assert card == done.out
    assert "300, as many decisions" in card
    assert json.loads((tmp_path / "out" / "data" / "metadata.json").read_text())["dataset_id"] == "telos/store-v0"
