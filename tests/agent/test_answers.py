"""A problem refuses futures that do not match the candidates it asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agent.composition.compose import composer
from agent.composition.judge import Exact
from agent.composition.risk import WORST, Risk
from agent.cost.objective import Objective, TaskCost
from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.guardrails.registry import build as guardrails
from envs.trajectory import Signals, Trajectory
from worldmodels.belief import Belief
from worldmodels.ensemble import Ensemble
from worldmodels.simulator.simulator import Simulator

SPEED = {"kind": "joint_velocity", "name": "calm", "joint": "hinge", "limit": 6.0, "unit": "rad/s"}
N, H = 4, 3


class Changed(Simulator):
    """A simulator whose futures the test changes."""

    change: Callable[[Trajectory], Trajectory] = staticmethod(lambda futures: futures)

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        return self.change(super().imagine(start, actions, states))

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        return self.change(super().branch(start, states, actions))


def shorter(futures: Trajectory) -> Trajectory:
    """Futures without their last step, in which a guardrail could be broken."""
    state = {name: values[:, :-1] for name, values in futures.signals.state.items()}
    interval = {name: values[:, :-1] for name, values in futures.signals.interval.items()}
    return replace(
        futures, actions=futures.actions[:, :-1], doubt=futures.doubt[:, :-1], signals=Signals(state, interval)
    )


def unsignalled(futures: Trajectory) -> Trajectory:
    state = {name: values[:, :-1] for name, values in futures.signals.state.items()}
    return replace(futures, signals=replace(futures.signals, state=state))


WRONG: dict[str, tuple[Callable[[Trajectory], Trajectory], str]] = {
    "too few steps": (shorter, "actions: given shape"),
    "signals of too few steps": (unsignalled, "signals.state['"),
    "doubt of one candidate": (lambda futures: replace(futures, doubt=futures.doubt[:1]), "doubt: given shape (1, "),
    "valid for one": (lambda futures: replace(futures, valid=futures.valid[:1]), "valid: given shape (1,)"),
}


@pytest.fixture
def env():
    made = registry.make("dm_control/pendulum-swingup-v0")
    made.reset(seed=0)
    yield made
    made.close()


@pytest.mark.parametrize("risk", [None, WORST])
@pytest.mark.parametrize("case", WRONG)
def test_futures_of_another_size_are_refused(env: Environment, case: str, risk: Risk | None) -> None:
    objective, rules = Objective(((1.0, TaskCost(env.task)),)), guardrails((SPEED,))
    model = Changed(env.task, env.interface, (*objective.requests, *rules.requests), threads=1)
    whole = model if risk is None else Ensemble([model, model])
    fallback = {"fallback": torch.zeros(H, 1, dtype=torch.float64)}
    problem = composer(whole, risk)(whole, objective, Exact(rules), Belief.at(env.snapshot()), H, fallback)
    actions = torch.linspace(-1, 1, N * H, dtype=torch.float64).reshape(N, H, 1)
    nodes = problem.root().repeat(N, 1)
    asked = [problem.evaluate, problem.imagine, lambda some: problem.step(nodes, some)]
    for ask in asked:
        ask(actions)
    change, said = WRONG[case]
    model.change = change
    for ask in asked:
        with pytest.raises(TelosError) as caught:
            ask(actions)
        assert f"world model: {said}" in str(caught.value)
