"""The comparison with other planners: the same reward, correct ratios, and one clear message for a missing peer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.harness import rows
from benchmarks.peers import peers
from benchmarks.peers import telos as peer_telos
from benchmarks.peers.process import CHILD, Peer, Process, environment
from benchmarks.systems import throughput
from envs import registry
from envs.errors import TelosError
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

SMALL = peer_telos.Setting(candidates=6, horizon=8, knots=4)
ECHO = """
class Echo:
    about = {"versions": {}, "threads": 1}
    def decide(self): print("a library prints this")
    def roll_out(self): pass
    def totals(self): return [1.0, 2.0]
def side(settings):
    if settings.get("broken"): raise ValueError("no such thing")
    return Echo()
"""


def by_path(name: str) -> ModuleType:
    """A peer's module imported from its file, without a package, as the peer's Python does it."""
    spec = importlib.util.spec_from_file_location(name, CHILD.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", peers.TASKS)
def test_judo_is_given_the_reward_of_the_task(task: str) -> None:
    judo = by_path("judo_side")
    reward, names = judo.REWARDS[task]
    env = registry.make(f"dm_control/{task}-v0")
    env.reset(seed=3)
    model = Simulator(env.task, env.interface, threads=1)
    actions = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (16, 50, env.interface.action_size)))
    start = Belief.at(env.snapshot())
    env.close()
    trajectory = model.imagine(start, actions)
    signals = {name: trajectory.signals.after(name).numpy() for name in names}
    ours = env.task.reward(trajectory, start.params).numpy()
    theirs_ = reward(signals, env.interface.native(actions.numpy()))
    assert ours.std() > 1e-3
    np.testing.assert_allclose(theirs_, ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("task", "substeps"), [("cartpole-swingup", 1), ("walker-walk", 10)])
def test_judo_reads_the_state_after_each_control_step(task: str, substeps: int, tmp_path: Path) -> None:
    """The costs that judo's side reads from `mujoco.rollout` on the exported XML equal telos's costs."""
    import mujoco
    from mujoco.rollout import rollout

    given = {**peer_telos.simulated(task, SMALL, tmp_path), "threads": 1}
    assert given["substeps"] == substeps
    model = mujoco.MjModel.from_xml_path(given["xml"])
    for name, values in given["exact"].items():
        getattr(model, name)[...] = values
    controls = np.repeat(np.asarray(given["controls"]), substeps, axis=1)
    start = np.tile([0.0, *given["state"]], (len(controls), 1))
    _, sensors = rollout(model, [mujoco.MjData(model)], start, controls)
    read = by_path("judo_side").Reader(model, task, substeps)
    theirs_ = -np.asarray(read(sensors, controls))[:, :-1].sum(1)
    ours = peer_telos.side(given).totals()
    assert peers.disagreement(ours, theirs_.tolist()) < 1e-6


def test_the_peers_modules_need_nothing_of_telos() -> None:
    """The modules import only the standard library and numpy; judo is imported when its side is made."""
    for name in ("judo_side", "child"):
        code = f"import sys; sys.path.insert(0, {str(CHILD.parent)!r}); import {name}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        loaded = set(done.stdout.split())
        assert name in loaded
        assert not {"agent", "envs", "planners", "worldmodels", "benchmarks", "judo", "mujoco"} & loaded


def test_the_latent_sides_are_the_same_world() -> None:
    given = {**peer_telos.latent(peer_telos.Setting(4, 3, None)), "threads": 1}
    side = peer_telos.side(given)
    network = peer_telos.Network(given["seed"])
    state, total = network.start[None], 0.0
    for action in torch.tensor(given["controls"][2], dtype=torch.float32):
        state = network.step(state, action[None])
        total += network.cost(state, action[None]).item()
    assert side.totals()[2] == pytest.approx(total, rel=1e-5)
    before = side.state
    side.decide()
    assert side.state.counter == before.counter + 1


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_judo_is_measured_as_shipped_and_with_fewer_threads(cpus: int) -> None:
    found = peers.contests(["judo-rai", "pytorch-mppi"], cpus)
    threads = {(contest.cpus, contest.peer_threads) for contest in found if contest.peer == "judo-rai"}
    assert threads == ({(1, 64), (1, 1)} if cpus == 1 else {(1, 64), (1, 1), (2, 64), (2, 2)})
    assert [contest.labels for contest in found if contest.peer != "judo-rai"] == [
        {"peer": "pytorch-mppi 0.9.1", "task": "latent", "cpus": 1, "peer_threads": 1}
    ]


def test_ratios_are_medians_of_blocks() -> None:
    telos = {"decide": [0.010, 0.010, 0.500], "roll_out": [0.005] * 3}
    peer = {"decide": [0.020] * 3, "roll_out": [0.010] * 3}
    slow = {"decide": [0.016] * 3, "roll_out": [0.005] * 3}
    found = peers.ratios([{"telos": telos, "peer": peer}] * 3 + [{"telos": slow, "peer": peer}], 1000)
    assert found["telos_decision_ms"] == pytest.approx(13.0), "one slow call does not matter, a slow block does"
    assert found["decision_ratio"] == pytest.approx(0.65)
    assert found["decision_ratio_of_rounds"] == [0.5, 0.8]
    assert (found["telos_steps_per_second"], found["peer_steps_per_second"]) == (200_000, 100_000)
    assert found["steps_ratio"] == 2.0


def test_disagreement_is_relative_to_the_spread_of_costs() -> None:
    assert peers.disagreement([0.0, 10.0], [0.0, 10.0]) == 0
    assert peers.disagreement([100.0, 110.0], [100.0, 109.0]) == pytest.approx(0.1)


def row(peer: str = "judo-rai 0.1.0", ratio: float = 0.6, **more: Any) -> dict[str, Any]:
    made = {"peer": peer, "task": "walker-walk", "cpus": 2, "peer_threads": 64, "candidates": 64, "horizon": 40}
    made |= {"telos_decision_ms": 6.0, "peer_decision_ms": 10.0, "decision_ratio": ratio, "floor_ratio": 0.55}
    made |= {"decision_ratio_of_rounds": [0.5, 0.9], "telos_steps_per_second": 2e6, "peer_steps_per_second": 1e6}
    made |= {"steps_ratio": 2.0, "costs_differ": 4e-8, "threads": {"telos": 2, "peer": 64}, "machine": "a machine"}
    return made | {"versions": {"telos": {"mujoco": "3.17.0"}, "peer": {"mujoco": "3.6.0"}}} | more


def test_the_table_and_what_falls_short() -> None:
    found = [row(), row(ratio=0.8, cpus=1, peer_threads=1), row("pytorch-mppi 0.9.1", 0.9, task="latent")]
    lines = peers.table(found).splitlines()
    assert lines[2].startswith("| judo-rai 0.1.0 | walker-walk | 64 × 40 | 2 | 2 | 64 | 6.00 | 10.00 | 0.60 [0.50, 0.9")
    assert lines[2].endswith("| 2.000 | 1.000 | 2.00 | 4e-08 |")
    assert len({line.count("|") for line in lines}) == 1
    said = peers.shortfall(found)
    assert "of judo's decision latency: walker-walk on 1 CPU against 1 thread (0.80, floor 0.55). The floor" in said
    assert said.count("telos with mujoco 3.17.0; the peer is mujoco 3.6.0; a machine.") == 1
    assert "Every row reaches the goal of at most 0.7" in peers.shortfall([found[0], found[2]]), "against judo alone"
    assert peers.shortfall([]) == "Not measured."


def fake(folder: Path, script: str, name: str = "some-peer") -> None:
    """A virtual environment whose Python is a shell script."""
    python = folder / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)


def test_an_install_that_fails_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake(tmp_path, "echo 'WARNING: retrying' >&2; echo 'ERROR: No matching distribution found for x==1' >&2; exit 1")
    with pytest.raises(TelosError) as caught:
        environment(Peer("some-peer", (("x==1",),)), tmp_path)
    assert str(caught.value).startswith(
        "peer some-peer: given '-m pip install --quiet x==1', which fails: ERROR: No matching distribution found"
    )
    assert "\n" not in str(caught.value)
    assert "pip install x==1" in capsys.readouterr().err, "progress is said"


def test_a_finished_environment_is_used_again_and_a_torn_one_finished(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    fake(tmp_path, f'echo "$@" >> {calls}; test ! -f {tmp_path}/broken')
    peer = Peer("some-peer", (("torch==1",), ("x==1",)))
    (tmp_path / "broken").touch()
    with pytest.raises(TelosError, match="exit status 1"):
        environment(peer, tmp_path)
    (tmp_path / "broken").unlink()
    for _ in range(2):
        assert environment(peer, tmp_path) == tmp_path / "some-peer" / "bin" / "python"
    said = [line.rpartition(" ")[2] for line in calls.read_text().splitlines()]
    assert said == ["torch==1", "torch==1", "x==1"]
    environment(Peer("some-peer", (("x==2",),)), tmp_path)
    assert calls.read_text().endswith("x==2\n"), "another release is another environment"
    assert peer.release == "x 1"


def test_the_command_shows_no_traceback(tmp_path: Path, telos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "runs" / "bench" / "venvs", "echo 'ERROR: no network' >&2; exit 1", "judo-rai")
    monkeypatch.chdir(tmp_path)
    done = telos("bench", "throughput", "--peers")
    assert done.status != 0
    assert "peer judo-rai: given '-m pip install --quiet judo-rai==0.1.0', which fails: ERROR: no network" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "runs" / "bench" / "peers.jsonl").exists()


def settings(tmp_path: Path, **more: Any) -> Path:
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"cpus": sorted(os.sched_getaffinity(0)), **more}), encoding="utf-8")
    return file


def test_a_process_answers_questions(tmp_path: Path) -> None:
    file = settings(tmp_path)
    (tmp_path / "child.py").write_text(CHILD.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, str(tmp_path / "child.py"), "echo"]
    with Process("echo", command, file) as process:
        assert process.about["threads"] == 1
        assert process.ask(ask="totals") == [1.0, 2.0]
        block = process.ask(ask="block", calls=3)
        assert {name: len(seconds) for name, seconds in block.items()} == {"decide": 3, "roll_out": 3}
        process._process.kill()
        with pytest.raises(TelosError, match="ended with status -9"):
            process.ask(ask="totals")
    with pytest.raises(TelosError, match=r"peer echo: given a process that ended with status 1: ValueError: no such"):
        Process("echo", command, settings(tmp_path, broken=True))


def test_throughput_leads_to_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    rows.append(tmp_path / "runs" / "bench" / "peers.jsonl", row())
    monkeypatch.chdir(tmp_path)
    assert throughput.main(["--peers", "--table"]) == 0
    assert "| judo-rai 0.1.0 | walker-walk |" in capsys.readouterr().out
