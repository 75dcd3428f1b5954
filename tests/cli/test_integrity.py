"""Every reader of a run directory notices later changes to any of its files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from agent import provenance
from agent.config.load import load
from agent.reports import explain, report
from agent.rollouts.row import TIMES, Row, Steps
from agent.runs.integrity import fingerprint
from agent.runs.manifest import digest, manifest_of
from agent.runs.rundir import RunDir
from envs.errors import TelosError
from envs.files import contents, write
from tests.cli.conftest import following, forged
from tests.conftest import unreported

OLD = Path(__file__).parent / "data" / "schema4"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no plots, because they show data that is checked before."""
    monkeypatch.setattr(report, "_picture", lambda draw: report.Picture("", "not drawn"))
    monkeypatch.setattr(explain, "_drawn", lambda path, draw, console: False)


@pytest.fixture(scope="module")
def twin(telos: Callable[..., Any], finished: Path, config_file: Path) -> Path:
    """Another run of the same configuration."""
    path = finished.parent / "twin"
    with unreported():
        assert telos("run", config_file, "--out", path).status == 0
    return path


def refused_by_readers(telos: Callable[..., Any], run: Path, *texts: str) -> None:
    """Assert that `report`, `compare` and `explain` refuse the run in one line that contains the texts."""
    for words in (("report", run), ("compare", run, run), ("explain", run, "--episode", 1)):
        done = telos(*words)
        assert done.status == 2, words
        assert done.err.count("\n") == 1, done.err
        for text in texts:
            assert text in done.err, done.err


def untimed(run: Path) -> list[dict[str, Any]]:
    rows = [vars(row) for row in RunDir.open(run).rows()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def made_again(telos: Callable[..., Any], run: Path, finished: Path) -> None:
    """Assert that `resume` sets aside one damaged row, says so, and restores the original run's rows and steps."""
    done = telos("resume", run)
    assert done.status == 0, done.err
    assert "set aside 1 damaged row(s)" in done.err
    assert untimed(run) == untimed(finished)
    ours, theirs = (RunDir.open(path).steps(1) for path in (run, finished))
    assert np.array_equal(ours.margin, theirs.margin)
    assert telos("report", run).status == 0


def restored(file: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the arrays of a steps file in place."""
    with np.load(file) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def test_steps_whose_margins_say_otherwise(telos, finished: Path, copy: Path) -> None:
    def lower(arrays: dict[str, np.ndarray]) -> None:
        arrays["margin"] = arrays["margin"] - 1
        arrays["violated"] = ~arrays["violated"]

    restored(copy / "steps" / "episode-0001.npz", lower)
    refused_by_readers(telos, copy, "episode-0001.npz", "other steps than those")
    made_again(telos, copy, finished)


@pytest.mark.parametrize("name", ["reward", "plan_ms", "action", "state", "belief", "reasons", "control_period"])
def test_any_array_is_bound_to_the_row(telos, copy: Path, name: str) -> None:
    def nudge(arrays: dict[str, np.ndarray]) -> None:
        value = arrays[name]
        arrays[name] = np.char.add(value, "!") if value.dtype.kind == "U" else value * (1 + 1e-15) + 1e-15

    restored(copy / "steps" / "episode-0001.npz", nudge)
    refused_by_readers(telos, copy, "episode-0001.npz")


def test_how_the_arrays_are_stored_does_not_matter(telos, copy: Path) -> None:
    file = copy / "steps" / "episode-0001.npz"
    with np.load(file) as stored:
        np.savez(file, **{name: np.asarray(array, order="F") for name, array in reversed(list(stored.items()))})
    assert telos("report", copy).status == 0


@pytest.mark.parametrize("field", ["return", "violation_steps", "terminated", "gate_steps_per_decision", "seconds"])
def test_a_row_that_was_edited_with_its_checksum(telos, finished: Path, copy: Path, field: str) -> None:
    file = copy / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    values = json.loads(lines[1])
    del values["sha256"]
    values[field] = not values[field] if field == "terminated" else values[field] + 1
    text = json.dumps(values)
    lines[1] = f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'
    file.write_text("".join(lines))
    refused_by_readers(telos, copy, "episode-0001.npz", "another row")
    made_again(telos, copy, finished)


def test_steps_of_two_episodes_exchanged(telos, copy: Path) -> None:
    first, second = (copy / "steps" / f"episode-000{index}.npz" for index in (1, 2))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    refused_by_readers(telos, copy, "episode-0001.npz")


def test_steps_of_another_run_of_the_same_configuration(telos, finished: Path, twin: Path, copy: Path) -> None:
    shutil.copy(twin / "steps" / "episode-0001.npz", copy / "steps" / "episode-0001.npz")
    refused_by_readers(telos, copy, "episode-0001.npz", "another row")
    made_again(telos, copy, finished)


def test_a_row_of_another_run_of_the_same_configuration(telos, finished: Path, twin: Path, copy: Path) -> None:
    lines = (copy / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = (twin / "episodes.jsonl").read_bytes().splitlines(keepends=True)[1]
    (copy / "episodes.jsonl").write_bytes(b"".join(lines))
    refused_by_readers(telos, copy, "episodes.jsonl:2", "another run")
    made_again(telos, copy, finished)


@pytest.mark.parametrize("names", [("manifest.json",), ("config.yaml", "manifest.json"), ("episodes.jsonl",)])
def test_files_of_another_run_are_refused_by_resume_too(telos, twin: Path, copy: Path, names: tuple[str, ...]) -> None:
    """The files do not show which of them is the wrong one."""
    for name in names:
        shutil.copy(twin / name, copy / name)
    refused_by_readers(telos, copy, "another run")
    done = telos("resume", copy)
    assert done.status == 2
    assert "manifest.json: given another manifest than the one that the rows" in done.err


EDITS: dict[str, tuple[str, str]] = {
    "variant.mass": ("mass: 1.0", "mass: 1.2"),
    "variant.latency": ("latency: 0", "latency: 1"),
    "world_model.variants": ("variants: []", "variants: [{mass: 1.3}]"),
    "planner.horizon": ("horizon: 8", "horizon: 9"),
    "guardrails": ("upper: 1.0", "upper: 2.0"),
    "back_up": ("back_up: null", "back_up: {seconds: 1.5, rest_speed: 0.1, gain: 5.0, joints: [slider]}"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_configuration_that_was_edited(telos, copy: Path, name: str) -> None:
    file = copy / "config.yaml"
    old, new = EDITS[name]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    refused_by_readers(telos, copy, "config.yaml", "as it began")
    assert telos("resume", copy).status == 2


def test_a_configuration_whose_remarks_were_edited(telos, copy: Path) -> None:
    """Comments change nothing, and the report shows only the settings."""
    file = copy / "config.yaml"
    file.write_text("# judged at level L3\n" + file.read_text())
    assert telos("report", copy).status == 0
    assert "judged at level L3" not in (copy / "report.html").read_text()


MANIFEST: dict[str, Any] = {
    "assurance": "L3",
    "privileged": False,
    "safe_stop": False,
    "created": "2001-01-01T00:00:00+00:00",
    "versions": {"telos": "9"},
    "commit": "f00",
}


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("name", MANIFEST)
def test_a_manifest_that_was_edited(telos, copy: Path, name: str, anew: bool) -> None:
    """This holds even if its own digest was recomputed, because rows name the manifest that they were written under."""
    file = copy / "manifest.json"
    values = {**json.loads(file.read_text()), name: MANIFEST[name]}
    stated = values.pop("sha256")
    file.write_text(json.dumps({**values, "sha256": digest(values) if anew else stated}))
    for words in (("report", copy), ("compare", copy, copy), ("explain", copy), ("resume", copy)):
        done = telos(*words)
        assert (done.status, done.err.count("\n")) == (2, 1), done.err
        assert "manifest.json" in done.err


def test_with_all_digests_anew_what_follows_must_still_follow(telos, copy: Path) -> None:
    def unviolated(row: Row, steps: Steps) -> tuple[Row, Steps]:
        steps.margin[3, 0] = -9.0
        return following(row, steps)

    forged(copy, unviolated)
    assert "episode-0000.npz: violated" in telos("report", copy).err


@pytest.mark.parametrize(
    ("field", "value"),
    [("return_", 1e6), ("violation_steps", 7), ("fallbacks", 20), ("privileged", False), ("reset_seed", 1)],
)
def test_a_row_must_follow_from_its_steps_and_the_configuration(telos, copy: Path, field: str, value: Any) -> None:
    forged(copy, lambda row, steps: (replace(row, **{field: value}), steps))
    done = telos("report", copy)
    assert done.status == 2
    assert f"episodes.jsonl: episode 0: {field.rstrip('_')}" in done.err


def test_what_a_forger_can_do_shows_in_the_fingerprint(telos, finished: Path, copy: Path) -> None:
    """A forger can recompute all digests, which have no key; but the report's fingerprint can be kept elsewhere."""
    before = fingerprint(RunDir.open(finished), RunDir.open(finished).rows())
    assert before in (finished / "report.html").read_text()
    rundir = forged(copy, lambda row, steps: (replace(row, terminated=True), steps))
    assert telos("report", copy).status == 0
    assert fingerprint(rundir, rundir.rows()) != before


# -- a user's own task file ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arm(telos: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task file and a run of it, `run`; tests must not write to it."""
    folder = tmp_path_factory.mktemp("arm")
    for name in ("arm.yaml", "arm.xml"):
        shutil.copy(provenance.ROOT / "docs" / "arm" / name, folder / name)
    small = ("--frames=2", "--planner.horizon=4", "--planner.budget={evaluations: 6}", "--planner.params={}")
    with unreported():
        assert telos("run", "--task", folder / "arm.yaml", *small, "--video=false", "--out", folder / "run").status == 0
    return folder


@pytest.mark.parametrize("name", ["arm.yaml", "arm.xml"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_task_file_that_is_not_as_it_was(telos, arm: Path, name: str, how: str) -> None:
    file, run = arm / name, arm / "run"
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"\n") if how == "changed" else file.unlink()
        for words in (("report", run), ("explain", run), ("resume", run)):
            done = telos(*words)
            assert (done.status, done.err.count("\n")) == (2, 1), done.err
            assert name in done.err
        done = telos("compare", run, run)
        assert done.status == 0, "its rows and steps still fit each other"
        assert f"warning: {run}: {name} is not as it was, so margins could not be judged again" in done.out
    finally:
        file.write_bytes(before)


def test_two_runs_between_which_the_task_file_changed(telos, arm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(arm, tmp_path / "arm")
    task, run = folder / "arm.yaml", folder / "run"
    small = ("--frames=2", "--planner.horizon=4", "--planner.budget={evaluations: 6}", "--planner.params={}")
    shutil.rmtree(run)
    for name in ("before", "after"):
        assert telos("run", "--task", task, *small, "--video=false", "--out", folder / name).status == 0
        task.write_text(task.read_text().replace("weight: 2.0", "weight: 3.0"))
    task.write_text(task.read_text().replace("weight: 3.0", "weight: 2.0"))
    done = telos("compare", folder / "before", folder / "after")
    assert done.status == 0
    (line,) = (line for line in done.out.splitlines() if "files_sha256.arm.yaml" in line)
    assert "the task's files differ" in line


# -- runs of schema 4 ----------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "old")


def test_an_older_run_is_shown_as_not_verified(telos, old: Path) -> None:
    assert telos("report", old).status == 0
    html = (old / "report.html").read_text()
    assert '<section class="panel verdict unverified">' in html
    assert "Guardrails held" not in html
    done = telos("compare", old, old)
    assert done.status == 0
    assert f"{old}: unverified, as a run of schema 4 has no digests of its steps" in done.out
    assert "model_steps_per_decision" in done.out, "by today's name"


@pytest.mark.parametrize("command", ["resume", "explain"])
def test_an_older_run_is_neither_resumed_nor_explained(telos, old: Path, command: str) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    done = telos(command, old)
    assert done.status == 2
    assert "manifest.json: schema: given 4, whose rows and steps cannot be verified" in done.err
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_a_damaged_older_row_is_refused(telos, old: Path) -> None:
    file = old / "episodes.jsonl"
    file.write_text(file.read_text().replace('"interventions": 0', '"interventions": 1', 1))
    assert "changed since it was written" in telos("report", old).err


def test_a_run_does_not_become_an_older_one(telos, copy: Path) -> None:
    """A manifest that claims an older schema avoids no check, because the rows have no CRC of that schema."""
    file = copy / "manifest.json"
    values = json.loads(file.read_text())
    del values["id"], values["sha256"]
    file.write_text(json.dumps({**values, "schema": 4}))
    assert "episodes.jsonl:1" in telos("report", copy).err


# -- what is no regular file ---------------------------------------------------------------------------------


@pytest.fixture
def patient() -> Iterator[None]:
    """Fail a test that waits forever."""

    def ring(number: int, frame: Any) -> NoReturn:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "episodes.jsonl", "steps/episode-0001.npz"])
@pytest.mark.parametrize("kind", ["a FIFO", "a link to a FIFO", "a device", "a directory"])
def test_what_is_no_regular_file_is_never_waited_for(telos, copy: Path, patient: None, name: str, kind: str) -> None:
    file = copy / name
    file.unlink()
    if kind == "a directory":
        file.mkdir()
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    else:
        place = file if kind == "a FIFO" else copy / "pipe"
        os.mkfifo(place)
        if place != file:
            file.symlink_to(place)
    refused_by_readers(telos, copy, name, f"given {kind.removeprefix('a link to ')}; allowed: a regular file")


def test_a_pipe_where_a_file_is_written_aside(tmp_path: Path, patient: None) -> None:
    os.mkfifo(tmp_path / ".made.part")
    write(tmp_path / "made", b"content")
    assert contents(tmp_path / "made") == b"content"


def test_a_pipe_for_the_summary_is_replaced(telos, copy: Path, patient: None) -> None:
    (copy / "summary.json").unlink()
    os.mkfifo(copy / "summary.json")
    assert telos("report", copy).status == 0
    assert telos("resume", copy).status == 0
    assert RunDir.open(copy).summary()["return"]["n"] == 3


# -- two at once ---------------------------------------------------------------------------------------------


def test_a_second_run_into_a_directory_that_is_being_written(telos, copy: Path, config_file: Path) -> None:
    with RunDir.open(copy).locked():
        done = telos("run", config_file, "--out", copy)
    assert done.status == 2
    assert "another process is writing there" in done.err


def test_a_second_run_that_begins_in_the_same_moment(config_file: Path, tmp_path: Path) -> None:
    config = load(str(config_file))
    RunDir.create(tmp_path / "run", config, manifest_of(config))
    with pytest.raises(TelosError, match="another process began there"):
        RunDir.create(tmp_path / "run", config, manifest_of(config))
    assert [item.name for item in tmp_path.iterdir()] == ["run"]
