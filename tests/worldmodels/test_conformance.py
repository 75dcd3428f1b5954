"""Conformance tests of every registered world model; registering a model is enough to have it tested."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agent import build
from agent.composition.problem import ImaginedProblem
from agent.config.config import Config
from envs import registry as tasks
from envs.environment import Environment
from envs.errors import TelosError
from envs.percept import Percept, features
from envs.requests import Request
from envs.task import Interface, Task
from envs.trajectory import Trajectory
from worldmodels import registry
from worldmodels.belief import Belief
from worldmodels.checkpoint import Checkpoint, Header, tensors_of
from worldmodels.jepa.model import Probe
from worldmodels.jepa.networks import Inputs, JepaParams, Networks
from worldmodels.jepa.saved import parts_of
from worldmodels.layers import initialise
from worldmodels.model import Branching, Spent, WorldModel
from worldmodels.simulator.simulator import Simulator

TASKS = ("dm_control/cartpole-swingup-v0", "Hopper-v5")
N, H, MORE = 5, 6, 4  # candidates, control steps, additional steps of a longer imagination
STEP = Request("qpos", "state")


@cache
def world(task: str) -> tuple[Environment, Belief, Request]:
    """An environment in the middle of an episode, and a force to ask for."""
    env = tasks.make(task)
    observation, _ = env.reset(seed=3)
    for _ in range(5):
        observation, *_ = env.step(np.full(env.interface.action_size, 0.3))
    now = env.snapshot()
    return (
        env,
        Belief(now, features(observation), now.params),
        Request(f"contact_force/{env.model.body(env.model.nbody - 1).name}", "interval"),
    )


def made(name: str, task: str) -> WorldModel:
    env, _, force = world(task)
    params = {"file": str(saved(task))} if name == "checkpoint" else {}
    return registry.make(name, env.task, env.interface, (STEP, force), 1, params)


@cache
def saved(task: str) -> Path:
    """A checkpoint for this task, whose weights are random, with two predictors and a probe for `STEP`."""
    env, start, _ = world(task)
    networks = Networks(
        Inputs(len(start.features)), env.interface.action_size, JepaParams(latent=6, width=16, members=2)
    )
    initialise(networks, 0)
    probe = Probe(6, {STEP.name: env.model.nq})
    about, modules = parts_of(networks, probe)
    header = Header(
        kind="jepa",
        task=env.task.id,
        features=len(start.features),
        action_size=env.interface.action_size,
        control_period=env.interface.control_period,
        parts=about,
        signals=probe.sizes,
    )
    path = Path(tempfile.mkdtemp()) / "model.safetensors"
    Checkpoint(header, tensors_of(modules)).written(path)
    return path


def predicted(name: str, task: str) -> set[Request]:
    """The signals that a model of this name must predict: a learned one has a probe for one of them."""
    env, _, force = world(task)
    return {STEP} if name == "checkpoint" else {*env.task.requests, STEP, force}


def candidates(task: str, number: int = N, horizon: int = H) -> Tensor:
    size = world(task)[0].interface.action_size
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (number, horizon, size)))


def parts(trajectory: Trajectory) -> dict[str, Tensor]:
    """All imagined tensors by name, each (N,…)."""
    found = {"states": trajectory.states, "doubt": trajectory.doubt, "valid": trajectory.valid}
    found |= {f"state signal {name}": value for name, value in trajectory.signals.state.items()}
    return found | {f"interval signal {name}": value for name, value in trajectory.signals.interval.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor], loose: bool = False) -> None:
    """Assert that they are equal; with `loose`, up to rounding, because batch sizes may change the order of sums."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        close = {"rtol": 1e-6, "atol": 1e-9} if loose else {"rtol": 0, "atol": 0}
        if loose and value.dtype == torch.float32:
            close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(value, other[name], **close, equal_nan=True, msg=lambda text, n=name: f"{n}: {text}")


def copied(trajectory: Trajectory) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in parts(trajectory).items()}


every = pytest.mark.parametrize("name", sorted(registry.TABLE.entries()))
on_tasks = pytest.mark.parametrize("task", TASKS)


@every
@on_tasks
@pytest.mark.parametrize("states", [False, True])
def test_shapes(name: str, task: str, states: bool) -> None:
    _, start, _ = world(task)
    actions = candidates(task)
    trajectory = made(name, task).imagine(start, actions, states=states)
    assert trajectory.states.shape[:2] == (N, H + 1)
    assert (trajectory.states.shape[2] > 0) == states
    assert trajectory.doubt.shape == (N, H)
    assert bool((trajectory.doubt >= 0).all())
    assert trajectory.valid.shape == (N,)
    assert trajectory.valid.dtype == torch.bool
    assert bool(trajectory.valid.all())  # five moderate candidates from an ordinary state
    wanted = predicted(name, task)
    assert made(name, task).signals == wanted
    assert set(trajectory.signals.state) == {request.name for request in wanted if request.at == "state"}
    assert set(trajectory.signals.interval) == {request.name for request in wanted if request.at == "interval"}
    for value in trajectory.signals.state.values():
        assert value.shape[:2] == (N, H + 1)
        assert value.ndim == 3
        assert bool(value.isfinite().all())
    for value in trajectory.signals.interval.values():
        assert value.shape[:2] == (N, H)
        assert value.ndim == 4
        assert bool(value.isfinite().all())


@every
@on_tasks
def test_time_and_size(name: str, task: str) -> None:
    env, start, _ = world(task)
    model = made(name, task)
    assert model.stride == 1  # what an agent's problem needs
    assert model.dt == pytest.approx(env.interface.control_period * model.stride)
    assert model.action_size == env.interface.action_size
    assert model.imagine(start, candidates(task)).dt == model.dt


@every
@on_tasks
def test_it_begins_where_it_is_told(name: str, task: str) -> None:
    env, start, _ = world(task)
    model = made(name, task)
    trajectory = model.imagine(start, candidates(task), states=True)
    if model.starts_from == "observation":
        assert isinstance(model, Branching)
        torch.testing.assert_close(trajectory.states[:, 0], model.root(start).expand(N, -1))
        return
    first = torch.from_numpy(np.array(start.simulated.state[1 : 1 + env.model.nq]))
    torch.testing.assert_close(trajectory.signals.state["qpos"][:, 0], first.expand(N, -1))


@every
@on_tasks
def test_actions_are_copied_through(name: str, task: str) -> None:
    _, start, _ = world(task)
    actions = candidates(task)
    before = actions.clone()
    trajectory = made(name, task).imagine(start, actions)
    assert torch.equal(actions, before)
    assert torch.equal(trajectory.actions, before)
    assert trajectory.horizon == H


@every
@on_tasks
def test_the_same_question_has_the_same_answer(name: str, task: str) -> None:
    _, start, _ = world(task)
    model = made(name, task)
    first = copied(model.imagine(start, candidates(task), states=True))
    model.imagine(start, -candidates(task, 3, 2), states=True)  # a call in between leaves no trace
    same(copied(model.imagine(start, candidates(task), states=True)), first)
    same(copied(made(name, task).imagine(start, candidates(task), states=True)), first)


@every
@on_tasks
def test_an_answer_outlives_the_next_question(name: str, task: str) -> None:
    _, start, _ = world(task)
    model = made(name, task)
    trajectory = model.imagine(start, candidates(task), states=True)
    before = copied(trajectory)
    model.imagine(start, -candidates(task), states=True)
    same(parts(trajectory), before)


@every
@on_tasks
def test_candidates_do_not_know_each_other(name: str, task: str) -> None:
    _, start, _ = world(task)
    model, actions = made(name, task), candidates(task)
    together = copied(model.imagine(start, actions, states=True))
    alone = [copied(model.imagine(start, row[None], states=True)) for row in actions]
    same({key: torch.cat([one[key] for one in alone]) for key in together}, together, loose=True)


@every
@on_tasks
def test_the_beginning_does_not_know_how_far_it_goes_on(name: str, task: str) -> None:
    _, start, _ = world(task)
    model, actions = made(name, task), candidates(task, horizon=H + MORE)
    longer = model.imagine(start, actions, states=True)
    shorter = model.imagine(start, actions[:, :H].contiguous(), states=True)
    whole, part = parts(longer), parts(shorter)
    cut = {key: value if key == "valid" else value[:, : part[key].shape[1]] for key, value in whole.items()}
    same(cut, part, loose=True)


@every
def test_states_cost_nothing_else(name: str) -> None:
    _, start, _ = world(TASKS[0])
    model = made(name, TASKS[0])
    without, with_them = (copied(model.imagine(start, candidates(TASKS[0]), states=s)) for s in (False, True))
    for found in (without, with_them):
        del found["states"]
    same(without, with_them)


# --- by name, from anywhere --------------------------------------------------------------------------------


class Mine(Simulator):
    """A world model of another package."""

    def __init__(
        self,
        task: Task,
        interface: Interface,
        requests: Any = (),
        *,
        threads: int | None = None,
        optimism: float = 0.0,
        stride: int = 1,
    ) -> None:
        if optimism > 1:
            raise ValueError(f"optimism {optimism} is above 1")
        super().__init__(task, interface, requests, threads=threads)
        self.optimism, self.stride = optimism, stride


class Empty:
    """A class that is no world model."""

    spent = Spent()

    def __init__(self, task: Task, interface: Interface, requests: Any = (), *, threads: int | None = None) -> None:
        pass


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Installs `Mine` as the entry point `mine`, and two broken entry points."""

    class Point:
        dist = None

        def __init__(self, name: str, value: str) -> None:
            self.name, self.value = name, value

    points = [Point(name.lower(), f"their_models:{name}") for name in ("Mine", "Gone", "Empty")]
    monkeypatch.setattr("envs.table.plug_ins", lambda group: points if group == "telos.models" else ())
    monkeypatch.setitem(__import__("sys").modules, "their_models", type("M", (), {"Mine": Mine, "Empty": Empty}))


def agent(**world_model: Any) -> Any:
    config = {
        "task": TASKS[0],
        "world_model": world_model,
        "planner": {"kind": "random_shooting", "horizon": 4, "budget": {"evaluations": 8}},
        "threads": 1,
    }
    return build.agent(Config.model_validate(config))


@pytest.mark.usefixtures("installed")
def test_a_model_of_another_package_is_named_in_the_config() -> None:
    made_agent = agent(kind="mine", params={"optimism": 0.5})
    assert type(made_agent.model) is Mine
    assert made_agent.model.optimism == 0.5
    env, start, _ = world(TASKS[0])
    made_agent.reset()
    assert made_agent.act(Percept(env.backend.observe(), start.snapshot)).action.shape == (1,)


@pytest.mark.usefixtures("installed")
def test_a_plan_starts_from_a_state() -> None:
    config = Config.model_validate(
        {"task": TASKS[0], "world_model": {"kind": "mine"}, "perception": {"kind": "stacked"}, "threads": 1}
    )
    with pytest.raises(TelosError, match=r"perception\.kind"):
        build.agent(config)


REFUSED = {
    "unknown kind": ({"kind": "simulatr"}, "world_model.kind", "did you mean 'simulator'"),
    "unknown parameter": ({"kind": "mine", "params": {"optimsm": 1}}, "world_model.params", "did you mean 'optimism'"),
    "a parameter given twice": ({"kind": "mine", "params": {"task": 1}}, "world_model.params", "task"),
    "a value it refuses": ({"kind": "mine", "params": {"optimism": 2.0}}, "world_model.params", "above 1"),
    "it skips control steps": ({"kind": "mine", "params": {"stride": 4}}, "world_model.stride", "every control step"),
    "no world model": (
        {"kind": "empty"},
        "world_model.kind",
        "without stride, dt, action_size, starts_from, signals, imagine",
    ),
    "a class that is not there": ({"kind": "gone"}, "world_model.kind", "their_models:Gone"),
}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused(case: str) -> None:
    world_model, where, text = REFUSED[case]
    with pytest.raises(TelosError) as caught:
        agent(**world_model)
    assert caught.value.where == where
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("world_model", "text"),
    [
        ({"params": {"optimism": 1.0}}, "params"),
        ({"kind": "mine", "timestep": 0.01}, "timestep"),
    ],
)
def test_settings_of_one_kind_are_not_those_of_another(world_model: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Config.model_validate({"task": TASKS[0], "world_model": world_model})


def test_a_problem_refuses_a_model_that_skips_steps() -> None:
    built = agent()
    built.model.stride = 2
    with pytest.raises(TelosError, match=r"world_model\.stride: given 2"):
        ImaginedProblem(built.model, built.objective, built.judge, world(TASKS[0])[1], 4, {})
