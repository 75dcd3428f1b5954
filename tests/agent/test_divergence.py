"""A diverging simulation ends the episode, with a notice and without reward in that step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import build
from agent.config.config import Config
from agent.config.resolved import resolve
from agent.rollouts import episode
from agent.rollouts.episode import EpisodeResult
from agent.rollouts.jobs import Job, Played
from agent.rollouts.parcel import sealed
from agent.rollouts.player import play
from agent.rollouts.rollouts import Serial
from agent.runs.rundir import RunDir
from envs import registry
from envs.environment import Environment
from envs.errors import Diverged
from envs.physics.batch import BatchPhysics

SERVO = """
<mujoco>
  <option timestep="0.02" integrator="Euler"><flag eulerdamp="disable"/></option>
  <worldbody>
    <body><joint name="turn" axis="0 1 0"/><geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass=".1"/></body>
  </worldbody>
  <actuator><velocity name="servo" joint="turn" kv="{kv}" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
TASK = """
model: model.xml
substeps: 1
frames: 12
alive: 1.0
reset: {joints: {turn: {qvel: [0.5, 1.0]}}}
"""
WIDE = {"kind": "joint_position", "name": "wide", "joint": "turn", "lower": -1e9, "upper": 1e9, "unit": "rad"}
STIFF = 3.0  # the servo's speed error grows 25-fold per step: the world diverges within seven
EXPLOSIVE = 1e12  # the world diverges within one step


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Makes the configuration of a servo whose gain makes its explicit integration unstable."""

    def made(kv: float = STIFF, **more: Any) -> Config:
        (tmp_path / "model.xml").write_text(SERVO.format(kv=kv))
        (tmp_path / "task.yaml").write_text(TASK)
        planner = {"horizon": 2, "budget": {"evaluations": 4}, "params": {"iterations": 1, "knots": 2, "elites": 2}}
        small = {"task": str(tmp_path / "task.yaml"), "planner": planner, "threads": 1, "video": False}
        return Config.model_validate({**small, **more})

    return made


def played(given: Config) -> EpisodeResult:
    env = build.environment(given)
    with closing(env):
        agent = build.agent(given, env.task, env.interface)
        return episode.run(agent, build.world(given, env), seed=0, episode=3)


def pushed(env: Environment, steps: int) -> None:
    env.reset(seed=0)
    for _ in range(steps):
        env.step(np.ones(1))


def scripted(given: Config, player: str) -> Played:
    (outcome,) = Serial().run([Job(sealed(given), 0, player)], lambda _: None, lambda: False)
    return outcome.played


def ended(given: Config) -> Played:
    stream = play(resolve(given), 0)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("autoreset", ["enable", "disable"])
def test_the_environment_says_so(config: Callable[..., Config], tmp_path: Path, autoreset: str) -> None:
    """Naive: end the episode. The last step would earn what the default pose earns."""
    task = config().task
    model = tmp_path / "model.xml"
    model.write_text(model.read_text().replace("<flag ", f'<flag autoreset="{autoreset}" '))
    env = registry.make(task)
    with pytest.raises(Diverged, match=r"a diverged simulation \(mjWARN_BADQ.*smaller timestep"):
        pushed(env, 12)


def test_the_last_substep_counts(config: Callable[..., Config]) -> None:
    """Naive: wait for MuJoCo's warning, which comes with the next step."""
    env = registry.make(config(kv=1e15).task)
    with pytest.raises(Diverged, match="mjWARN_BADQ"):
        pushed(env, 1)


@pytest.mark.parametrize(
    ("memory", "height", "said"), [("8K", 1.0, "out of memory"), ("24K", 0.05, "mjWARN_C"), ("24K", 1.0, "mjWARN_C")]
)
def test_an_arena_that_is_too_small_says_so(tmp_path: Path, memory: str, height: float, said: str) -> None:
    """At once, or when the boxes hit the floor: MuJoCo drops contacts that do not fit into its arena."""
    boxes = "".join(
        f'<body pos="{i} 0 {height}"><freejoint/><geom type="box" size=".1 .1 .1" mass="1"/></body>' for i in range(6)
    )
    (tmp_path / "model.xml").write_text(
        f'<mujoco><size memory="{memory}"/><worldbody><geom type="plane" size="9 9 1"/>{boxes}'
        '<body pos="0 9 2"><joint name="turn"/><geom size=".1"/></body></worldbody>'
        '<actuator><motor joint="turn" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    (tmp_path / "task.yaml").write_text("model: model.xml\nsubsteps: 300\n")
    env = registry.make(str(tmp_path / "task.yaml"))
    with pytest.raises(Diverged, match=f"a diverged simulation .*{said}"):
        pushed(env, 1)


@pytest.mark.parametrize("rules", [[], [WIDE]])
def test_the_episode_ends_with_a_step_that_earns_nothing(
    config: Callable[..., Config], rules: list[dict[str, Any]]
) -> None:
    result = played(config(guardrails=rules))
    last, sound = result.steps[-1], result.steps[-2]
    assert result.diverged
    assert not result.terminated
    assert last.reward == 0.0
    assert last.margin.tolist() == [-np.inf] * len(rules)
    assert last.violated == bool(rules)
    np.testing.assert_array_equal(last.state, sound.state)
    assert not any(step.violated for step in result.steps[:-1])
    assert sound.reward == 1.0
    assert result.notice == f"episode 3 ended at step {len(result.steps)}: a diverged simulation (mjWARN_BADQACC)"


@pytest.mark.parametrize("more", [{}, {"perception": {"kind": "estimated"}}, {"real_time": 0.1}])
def test_an_episode_of_one_step(config: Callable[..., Config], more: dict[str, Any]) -> None:
    """Naive: make the row from successful steps. Here there are none."""
    done = ended(config(kv=EXPLOSIVE, guardrails=[WIDE], **more))
    assert done.row.decisions == done.row.violation_steps == 1
    assert done.row.return_ == 0.0
    assert "ended at step 1: a diverged simulation" in done.notice


@pytest.mark.parametrize("player", ["benchmarks.players.scripted:random", "benchmarks.players.scripted:do_nothing"])
def test_players_that_do_not_think_meet_it_too(config: Callable[..., Config], player: str) -> None:
    found = scripted(config(guardrails=[WIDE]), player)
    assert 1 < found.row.decisions < 12
    assert found.row.violation_steps == 1
    assert found.notice.endswith("a diverged simulation (mjWARN_BADQACC)")


@pytest.mark.parametrize(
    ("task", "variant"),
    [
        ("dm_control/cartpole-swingup-v0", {"damping": 1e300}),
        ("Hopper-v5", {"gain": 1e12}),
        ("InvertedPendulum-v5", {"gain": 1e6}),
    ],
)
def test_worlds_of_others_end_alike(config: Callable[..., Config], task: str, variant: dict[str, float]) -> None:
    """Naive: let the error end the run. All its other episodes would be lost."""
    found = scripted(config(task=task, variant=variant), "benchmarks.players.scripted:random")
    assert found.notice.startswith(f"episode 0 ended at step {found.row.decisions}: a diverged simulation")
    assert found.row.terminated is False


def test_a_run_goes_on_with_the_next_episode(
    config: Callable[..., Config], telos: Callable[..., Any], tmp_path: Path, fast: None
) -> None:
    small = ["--planner.horizon", 2, "--planner.budget.evaluations", 4, "--planner.params", "{iterations: 1, knots: 2}"]
    called = telos(
        "run", "--task", config().task, "--episodes", 2, "--video", "false", "--out", tmp_path / "out", *small
    )
    assert called.status == 0
    assert [line for line in called.err.splitlines() if "ended at step" in line] == [
        "episode 0 ended at step 7: a diverged simulation (mjWARN_BADQACC)",
        "episode 1 ended at step 7: a diverged simulation (mjWARN_BADQACC)",
    ]
    assert len(RunDir.open(tmp_path / "out").rows()) == 2


# --- imagined divergence ------------------------------------------------------------------------------------------


def test_diverged_candidates_are_counted(config: Callable[..., Config]) -> None:
    env = registry.make(config().task)
    env.reset(seed=0)
    physics = BatchPhysics(env.task.spec, (), env.interface.control_period, threads=1)
    for horizon, diverged in ((2, 0), (12, 3), (12, 6)):
        physics.rollout(env.snapshot().state, np.ones((3, horizon, 1)))
        assert physics.diverged == diverged


def test_the_result_counts_what_the_planner_met(config: Callable[..., Config]) -> None:
    calm = played(config(kv=0.01))
    assert not calm.diverged
    assert calm.diverged_candidates == 0
    assert calm.notice == ""
    assert played(config()).diverged_candidates > 0


def test_nothing_is_written_beside_the_run(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Naive: let MuJoCo print each of thousands of warnings, and write it to MUJOCO_LOG.TXT."""
    monkeypatch.chdir(tmp_path)
    played(config())
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("perception", ["privileged", "estimated"])
def test_memory_ends_where_the_world_was_before_it_diverged(config: Callable[..., Config], perception: str) -> None:
    """Naive: tell a privileged agent what the simulator holds after the divergence, which is no state of the world."""
    given = config(perception={"kind": perception})
    env = build.environment(given)
    with closing(env):
        agent = build.agent(given, env.task, env.interface)
        result = episode.run(agent, build.world(given, env), seed=0, episode=3)
    assert result.diverged
    states = agent.memory.episodes[-1].states
    assert np.isfinite(states).all()
    if perception == "privileged":
        np.testing.assert_array_equal(states[-1], result.steps[-1].state)
