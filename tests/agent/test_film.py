"""Videos: the episodes that are filmed, the message of a failed film, and the drawn imagined path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mujoco
import numpy as np
import pytest
import torch

from agent import build
from agent.agent import Agent
from agent.config.config import Config, VideoConfig
from agent.config.load import load
from agent.config.resolved import resolve
from agent.rollouts import film, player
from agent.rollouts.film import Film
from agent.rollouts.parcel import sealed
from agent.rollouts.trace import Tracer
from envs import render
from envs.environment import Environment
from envs.percept import Percept
from envs.task import Snapshot, TaskParams
from worldmodels.belief import Belief

ARM = str(Path(__file__).parents[2] / "docs" / "arm" / "arm.yaml")
SMALL = {"frames": 4, "planner.horizon": 8, "planner.budget.evaluations": 16, "planner.params": {}, "threads": 1}

# --- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "which"),
    [(True, "first"), (False, "none"), ("all", "all"), ("first", "first"), ("none", "none"), ({}, "first")],
)
def test_a_video_is_asked_for_in_a_word_or_in_full(given: Any, which: str) -> None:
    for form in (given, {"which": given} if not isinstance(given, dict) else given):
        config = Config.model_validate({"task": ARM, "video": form})
        assert config.video == VideoConfig(which=cast(Any, which))


@pytest.mark.parametrize(("which", "filmed"), [("none", []), ("first", [0]), ("all", [0, 1, 2])])
def test_the_episodes_that_were_asked_for_are_filmed(which: Any, filmed: list[int]) -> None:
    assert [index for index in range(3) if film.wanted(VideoConfig(which=which), index)] == filmed


def test_layers_add_to_a_video(tmp_path: Path) -> None:
    """Naive: let one layer's word replace the other layer's whole mapping."""
    (tmp_path / "base.yaml").write_text(f"task: {ARM}\nvideo: all\n")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\nvideo: {trace: true}\n")
    config = load(str(tmp_path / "over.yaml"), overrides={"video.size": [320, 240]})
    assert config.video == VideoConfig(which="all", trace=True, size=(320, 240))
    assert load(str(tmp_path / "over.yaml"), overrides={"video": False}).video == VideoConfig(which="none", trace=True)


@pytest.mark.parametrize("video", [True, False, "all", {"camera": "side"}, {"which": "none", "trace": True}])
def test_a_configuration_is_read_as_it_was_written(video: Any) -> None:
    config = Config.model_validate({"task": ARM, "video": video})
    written = config.model_dump(mode="json")
    assert Config.model_validate(written) == config
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert sealed(config).sha256 == sealed(Config.model_validate(written)).sha256
    if isinstance(video, bool):
        assert written["video"] is video, "as before more could be said: digests of old runs hold on"


# --- a film -------------------------------------------------------------------------------------------------


class Frames:
    """A stand-in for ffmpeg."""

    def __init__(self, width: int, height: int, rate: float) -> None:
        self.size, self.rate, self.number, self.closed = (width, height), rate, 0, False

    def add(self, frame: np.ndarray) -> None:
        assert frame.shape == (self.size[1], self.size[0], 3)
        self.number += 1

    def finished(self) -> bytes:
        return f"{self.number} frames".encode()

    def close(self) -> None:
        self.closed = True


class World:
    """A stand-in for an environment."""

    def __init__(self, frame: np.ndarray | Exception, period: float = 0.02) -> None:
        self.interface = SimpleNamespace(control_period=period)
        self.frame = frame
        self.drawn = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(np.zeros(1), TaskParams())

    def show(self, state: np.ndarray, paths: Any) -> np.ndarray:
        self.drawn += 1
        if isinstance(self.frame, Exception):
            raise self.frame
        return self.frame


DECISION = cast(Any, SimpleNamespace(problem=SimpleNamespace(start=None), plan=SimpleNamespace(actions=None)))


def _film(monkeypatch: pytest.MonkeyPatch, frame: np.ndarray | Exception, steps: int, period: float = 0.02) -> Film:
    monkeypatch.setattr(render, "Encoder", Frames)
    made = Film(cast(Any, World(frame, period)), steps)
    for step in range(steps):
        made.take(step, DECISION)
    return made


def _picture() -> np.ndarray:
    return np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)


@pytest.mark.parametrize(
    ("steps", "period", "number", "rate"), [(40, 0.01, 14, 30), (10, 0.05, 10, 20), (1000, 0.05, 334, 20 / 3)]
)
def test_a_film_has_a_frame_of_every_step_that_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, steps: int, period: float, number: int, rate: float
) -> None:
    made = _film(monkeypatch, _picture(), steps, period)
    assert made.developed() == f"{number} frames".encode()
    assert made.rate == pytest.approx(rate)
    assert made.notice == ""


def test_a_film_of_one_colour_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _film(monkeypatch, np.zeros((48, 64, 3), np.uint8), 10)
    assert made.developed() == b"5 frames"
    assert "every frame is of one colour" in made.notice
    assert "video.camera" in made.notice


def test_in_real_time_nothing_is_drawn_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Naive: draw at once. The world would wait for the picture and fall behind the clock."""
    monkeypatch.setattr(render, "Encoder", Frames)
    world = World(_picture())
    made = Film(cast(Any, world), 10, later=True)
    for step in range(10):
        made.take(step, DECISION)
    assert world.drawn == 0
    assert made.developed() == b"5 frames"


def test_what_fails_ends_the_film_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _film(monkeypatch, RuntimeError("no such display\nand more"), 10)
    assert made.developed() is None
    assert made.notice == "no video: no such display; `telos doctor` says more"


def test_a_film_that_nobody_develops_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _film(monkeypatch, _picture(), 3)
    encoder = cast(Any, made)._encoder
    made.close()
    assert encoder.closed
    assert made.developed() is None


def _played(config: Config, index: int = 0) -> Any:
    stream = player.play(resolve(config), index)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value


def test_filming_changes_nothing_but_the_video() -> None:
    """Naive: imagine the path with the agent's own model, which counts what it simulates."""
    over = {**SMALL, "video.size": [64, 48]}
    plain = _played(load(task=ARM, overrides={**over, "video.which": "none"}))
    shown = _played(load(task=ARM, overrides={**over, "video.which": "all", "video.trace": True}))
    assert plain.video is None
    possible = bool(render.backend() and render.ffmpeg())
    assert (shown.video is not None) == possible
    assert shown.notice.startswith("no video:") != possible
    np.testing.assert_array_equal(shown.steps.action, plain.steps.action)
    assert shown.row.return_ == plain.row.return_
    assert shown.row.model_steps_per_decision == plain.row.model_steps_per_decision > 0
    assert shown.row.gate_steps_per_decision == plain.row.gate_steps_per_decision


# --- the imagined path --------------------------------------------------------------------------------------


class Traced:
    """An agent that has decided once, and the paths that it imagined."""

    def __init__(self, task: str, **over: Any) -> None:
        self.config = load(task=task, overrides={**SMALL, **over})
        self.env: Environment = build.environment(self.config)
        self.agent: Agent = build.agent(self.config, self.env.task, self.env.interface)
        observation, _ = self.env.reset(seed=1)
        self.agent.reset(seed=1)
        self.decision = self.agent.act(Percept(observation, self.env.snapshot()))
        requests = (*self.env.task.requests, *self.agent.objective.requests, *self.agent.guardrails.requests)
        self.tracer = Tracer(self.config, self.env, requests)

    def paths(self) -> tuple[np.ndarray, ...]:
        return self.tracer.paths(self.decision.problem.start, self.decision.plan.actions)


@pytest.fixture
def traced() -> Iterator[Callable[..., Traced]]:
    made: list[Traced] = []

    def _make(task: str, **over: Any) -> Traced:
        made.append(Traced(task, **over))
        return made[-1]

    yield _make
    for one in made:
        one.env.close()


def _follows(one: Traced, path: np.ndarray, place: Callable[[Any], np.ndarray]) -> None:
    """Assert that the world follows the path when the plan is executed."""
    for step, expected in enumerate(path):
        mujoco.mj_kinematics(one.env.model, one.env.backend.data)
        np.testing.assert_allclose(place(one.env.backend.data), expected, atol=1e-9)
        if step < len(path) - 1:
            one.env.step(one.decision.plan.actions[step].numpy())


@pytest.mark.parametrize("robust", [(), [{"mass": 1.3}]])
def test_the_path_of_what_the_cost_reads_is_the_plan_carried_out(traced: Callable[..., Traced], robust: Any) -> None:
    one = traced(ARM, **{"world_model.variants": robust})
    spent = one.agent.model.spent
    (path,) = one.paths()  # of the tip; the target does not move
    assert one.agent.model.spent == spent
    assert path.shape == (one.decision.problem.horizon + 1, 3)
    _follows(one, path, lambda data: data.site("tip").xpos)


def test_without_positions_it_is_the_body_that_travels(traced: Callable[..., Traced]) -> None:
    one = traced("HalfCheetah-v5")
    (path,) = one.paths()
    _follows(one, path, lambda data: data.body("torso").xipos)


def test_without_one_that_travels_it_is_the_body_that_moves_most(traced: Callable[..., Traced]) -> None:
    """Naive: use the origins of bodies. A pole's origin is its hinge, which does not move."""
    one = traced("dm_control/pendulum-swingup-v0")
    (path,) = one.paths()
    _follows(one, path, lambda data: data.body("pole").xipos)


def test_a_plan_that_diverges_has_no_path(traced: Callable[..., Traced]) -> None:
    one = traced("dm_control/cheetah-run-v0")
    start, actions = one.decision.problem.start, one.decision.plan.actions
    state = start.simulated.state.copy()
    state[2] = np.nan
    assert one.tracer.paths(Belief.at(Snapshot(state, start.params)), actions) == ()
    (path,) = one.tracer.paths(start, torch.ones_like(actions[:1]))
    assert len(path) == 2


def test_a_path_is_drawn_into_a_picture_of_any_state(traced: Callable[..., Traced]) -> None:
    one = traced(ARM, **{"video.size": [160, 120]})
    env = one.env
    if render.backend() is None:
        assert film.missing().startswith("no video: no GL library")
        return
    env.reset(seed=1)
    state, bare = env.snapshot().state, env.render()
    for _ in range(5):
        env.step(np.ones(2))
    after = env.snapshot().state
    np.testing.assert_array_equal(env.show(state), bare)
    drawn = env.show(state, one.paths())
    assert 5 < (bare != drawn).any(2).sum() < 0.1 * 160 * 120
    assert not np.array_equal(env.render(), bare)
    np.testing.assert_array_equal(env.snapshot().state, after, "the world itself did not move")
