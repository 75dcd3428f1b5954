"""compare, explain, list, doctor, --help."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agent import provenance
from agent.command import doctor
from agent.command.arguments import split
from agent.config import resolved
from agent.rollouts.episode import seeds_of
from agent.rollouts.jobs import Tick
from agent.rollouts.progress import RunProgress
from agent.rollouts.row import Row, Steps
from agent.runs.manifest import manifest_of
from agent.runs.rundir import RunDir
from envs import render
from envs.errors import TelosError
from tests.cli.conftest import forged
from tests.conftest import unreported


@pytest.fixture(scope="module")
def other(telos, config_file: Path) -> Path:
    """The same run with another planner and one more guardrail, two episodes."""
    path = config_file.parent / "other"
    with unreported():
        done = telos(
            "run", config_file, "--planner.kind=random_shooting", "--planner.params={}", "--planner.horizon=8",
            "--planner.budget={evaluations: 12}", "--episodes=2", "--video=false", "--out", path,
            "--guardrails=[{kind: joint_position, name: tight, joint: slider, lower: -1.5, upper: 1.5, unit: m}]",
        )  # fmt: skip
    assert done.status == 0, done.err
    return path


def test_compare_pairs_by_seed_and_episode(telos, finished: Path, other: Path) -> None:
    done = telos("compare", finished, other)
    assert done.status == 0
    assert "2 episodes paired" in done.out
    assert "1 without a partner" in done.out
    assert "the guardrails differ" in done.out
    a, b = (np.array([row.return_ for row in RunDir.open(path).rows()[:2]]) for path in (finished, other))
    line = next(line for line in done.out.splitlines() if re.match(r"\W*return\b", line))
    assert f"{(b - a).mean():+.3g}" in line


def test_compare_with_itself_is_nothing(telos, finished: Path) -> None:
    done = telos("compare", finished, finished)
    line = next(line for line in done.out.splitlines() if re.match(r"\W*return\b", line))
    assert "+0 … +0" in line
    assert "warning" not in done.out


def test_compare_refuses_other_tasks_and_other_seeds(telos, finished: Path, tmp_path: Path) -> None:
    config = RunDir.open(finished).config
    others = {"task": "dm_control/cartpole-balance-v0", "seed": 7}
    for name, value in others.items():
        other = config.model_copy(update={name: value})
        RunDir.create(tmp_path / name, other, manifest_of(other))
    done = telos("compare", finished, tmp_path / "task")
    assert done.status == 2
    assert "cartpole-balance" in done.err
    assert "cartpole-swingup" in done.err
    assert "same seed" in telos("compare", finished, tmp_path / "seed").err


def test_compare_leaves_out_episodes_with_other_starts(telos, finished: Path, copy: Path) -> None:
    """If one run's rules reject a start, its episode begins elsewhere, so the two episodes are not a pair."""

    def rejecting(episodes: set[int]) -> None:
        """Let the first start of these episodes count as rejected."""
        forged(
            copy,
            lambda row, steps: (
                replace(row, resets_rejected=1, reset_seed=seeds_of(0, row.episode)[1]) if row.episode in episodes
                else row, steps,
            ),
        )  # fmt: skip

    rejecting({1})
    done = telos("compare", finished, copy)
    assert done.status == 0
    assert "2 episodes paired" in done.out
    assert "1 with another start" in done.out
    assert "partner" not in done.out
    rejecting({0, 1, 2})
    assert "the same starts" in telos("compare", finished, copy).err


@pytest.mark.parametrize(("episode", "step"), [(0, 0), (2, 7)])
def test_explain_runs_the_decision_again(telos, copy: Path, episode: int, step: int) -> None:
    done = telos("explain", copy, "--episode", episode, "--step", step)
    assert done.status == 0, done.err
    assert f"all {step + 1} actions equal the recorded ones bit for bit" in done.out
    for text in ("published", "fallback", "rail", "slow", "why:", "gate:", "feasible"):
        assert text in done.out
    assert ("previous" in done.out) == (step > 0)
    assert (copy / f"explain-{episode}-{step}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("more", [(), ("--world_model.variants", "[{mass: 1.2}]")])
def test_explain_draws_the_tree_of_a_search(telos, tmp_path: Path, more: tuple[str, ...]) -> None:
    search = ("--planner", "mcts", "--planner.params", "{hold: 5}", "--planner.budget", "{evaluations: 6}", *more)
    telos("run", "--task=dm_control/pendulum-swingup-v0", "--frames=2", "--out", tmp_path / "run", *search)
    done = telos("explain", tmp_path / "run", "--step", 1)
    assert done.status == 0, done.err
    assert re.search(r"^tree: \d+ nodes, \d+ simulations, 0 infeasible; picture: ", done.out, re.M)
    assert (tmp_path / "run" / "explain-0-1-tree.png").read_bytes().startswith(b"\x89PNG")


def test_explain_tells_when_the_actions_differ(telos, copy: Path) -> None:

    def nudged(row: Row, steps: Steps) -> tuple[Row, Steps]:
        steps.action[3] += 1e-12
        return row, steps

    forged(copy, nudged)
    assert telos("explain", copy, "--step", 2).status == 0
    done = telos("explain", copy, "--step", 3)
    assert done.status == 1
    assert "DIFFER" in done.out


@pytest.mark.parametrize("what", ["tasks", "planners", "models", "costs", "guardrails", "presets"])
def test_list(telos, what: str) -> None:
    known = {"tasks": "Ant-v5", "planners": "icem", "models": "simulator", "costs": "effort", "guardrails": "keep_out"}
    done = telos("list", what)
    assert done.status == 0
    assert known.get(what, "default") in {line.split("\t")[0] for line in done.out.splitlines()}


def test_list_signals(telos) -> None:
    done = telos("list", "signals", "--task", "dm_control/cartpole-swingup-v0")
    assert "joint_position/slider\tm | rad" in done.out.splitlines()


def test_doctor(telos) -> None:
    done = telos("doctor")
    assert done.status == 0, done.out
    for text in ("mujoco", "all 6 packages", "CPUs", "GL library"):
        assert text in done.out


def test_doctor_without_gl_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render, "probe", lambda backend: False)
    gl = next(finding for finding in doctor.examine() if finding.what == "GL library")
    assert (gl.mark, gl.remedy) == ("note", "apt-get install -y libegl1 libosmesa6")


def test_a_package_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """A foreign package comes before ours on the path, in a separate process."""
    (tmp_path / "planners").mkdir()
    (tmp_path / "planners" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.insert(1, {str(provenance.ROOT)!r})\n"
    code += "from agent.command.cli import main; sys.exit(main(['list', 'tasks']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "package 'planners'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_overwritten_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's record shows that another distribution has overwritten one of our files."""
    from importlib import metadata

    shutil.copytree(provenance.ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    info = tmp_path / "telos-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: telos\nVersion: 0.1.0\n")
    (info / "RECORD").write_text(f"agent/__init__.py,sha256={'A' * 43},10\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "PACKAGES", ("agent",))
    monkeypatch.setattr(provenance, "distribution", lambda: metadata.Distribution.at(info))
    monkeypatch.setattr(
        provenance, "find_spec", lambda name: type("Spec", (), {"origin": str(tmp_path / name / "__init__.py")})
    )
    with pytest.raises(TelosError, match="a changed"):
        provenance.check_packages()


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom agent.command.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'mujoco', 'ray', 'dm_control', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=provenance.ROOT, check=False
    )
    assert "heavy: []" in done.stdout, done.stderr
    for command in ("run", "resume", "report", "compare", "explain", "list", "doctor"):
        assert command in done.stdout


def test_names_are_text_and_no_markup(
    telos, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rule = "[{kind: joint_position, name: 'east[/left]', joint: slider, lower: -1.5, upper: 1.5, unit: m, scale: 0.1}]"
    args = ("run", config_file, "--episodes=1", "--frames=2", "--video=false", f"--guardrails={rule}")
    for _ in range(2):  # the second call resumes the first run
        done = telos(*args, "--out", "a[/b]")
        assert done.status == 0, done.err
    assert "a[/b] holds this run" in done.err
    for command in (("compare", "a[/b]", "a[/b]"), ("explain", "a[/b]", "--step=1")):
        done = telos(*command)
        assert done.status == 0, done.err
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    rules = resolved.guardrails(RunDir.open(Path("a[/b]")).config)
    with RunProgress(screen, rules, 1, 10, 0) as progress:
        progress.watch(Tick(0, 0, 3, 1.5, np.array([0.2, 2.0, 2.0])))
    assert "(east[/left])" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_streams_may_be_closed() -> None:
    command = f"{sys.executable} -m agent.command.cli list planners"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {closed}"], capture_output=True, text=True, cwd=provenance.ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_planner_under_a_name_that_is_taken_is_refused(telos, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from planners import registry

    point = EntryPoint("icem", "json:JSONDecoder", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.table.cache_clear()
    try:
        for command in (("list", "planners"), ("run", "quickstart", "--episodes=1")):
            done = telos(*command)
            assert done.status == 2
            assert done.err.count("\n") == 1, done.err
            assert "'icem' is both" in done.err
    finally:
        registry.table.cache_clear()


def test_names_of_zones_are_the_user_s_own() -> None:
    """Fields may be written with - for _, like other options."""
    words = ["run", "--zones.my-zone", "{shape: sphere}", "--world-model.disable-contacts", "true", "--real-time=1"]
    assert split(words)[1] == {
        "zones.my-zone": {"shape": "sphere"},
        "world_model.disable_contacts": True,
        "real_time": 1,
    }


def test_sigterm_is_ctrl_c_from_the_beginning(telos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "check_packages", lambda: signal.raise_signal(signal.SIGTERM))
    done = telos("list", "planners")
    assert (done.status, done.out, done.err) == (130, "", "telos: interrupted\n")


def test_memory_that_gives_out_is_told(telos, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise MemoryError

    monkeypatch.setattr(doctor, "examine", full)
    done = telos("doctor")
    assert done.status == 2
    assert "memory: given more than there is" in done.err


def test_a_task_that_is_none_is_refused(telos, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("mine", "builtins:dict", "telos.tasks")
    monkeypatch.setattr("envs.table.plug_ins", lambda group: (point,) if group == "telos.tasks" else ())
    done = telos("list", "signals", "--task", "mine")
    assert done.status == 2
    assert "'mine', at builtins:dict, made a dict" in done.err


FORKED = """
import os, sys
import matplotlib.figure, torch  # once for all commands
from agent.command.cli import entry
words = []
for word in sys.argv[1:]:
    if word != "THEN":
        words.append(word)
        continue
    if os.fork() == 0:
        sys.argv = ["telos", *words]
        entry()
    print(os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr, flush=True)
    words = []
"""


def test_no_name_and_no_terminal_is_too_odd_to_print(config_file: Path, tmp_path: Path) -> None:
    """A path that is not UTF-8, and a stream that takes only ASCII."""
    out = os.fsencode(tmp_path) + b"/run-\xff"
    run = ("run", config_file, "--episodes=1", "--frames=2", "--video=false", "--out", out)
    commands = (run, ("report", out), ("explain", out), ("compare", out, out), ("run", "--task", "ä"))
    done = subprocess.run(
        [sys.executable, "-c", FORKED, *(word for words in commands for word in (*words, "THEN"))],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        cwd=provenance.ROOT,
        check=True,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert [int(line) for line in done.stderr.split(b"\n") if line.isdigit()] == [0, 0, 0, 0, 2], done.stderr
    assert b"run-?" in Path(os.fsdecode(out), "report.html").read_bytes()


def test_nothing_is_said_but_what_is_meant(config_file: Path, tmp_path: Path) -> None:
    """A real command prints no warnings of imported libraries on stderr, and only the report's path on stdout."""
    args = ["run", config_file, "--episodes", 1, "--frames", 2, "--out", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, "-m", "agent.command.cli", *map(str, args)],
        capture_output=True, text=True, cwd=provenance.ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "run" / "report.html")
    assert all(line.startswith(("episode 0:", "no video:")) for line in done.stderr.splitlines()), done.stderr
    if render.working_backend() and render.ffmpeg():
        assert (tmp_path / "run" / "video" / "episode-0000.mp4").stat().st_size > 500
        assert "data:video/mp4;base64," in (tmp_path / "run" / "report.html").read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["return"]["low"] is None
