"""Composition of a world model, an objective and a judge into a problem that a planner minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from agent.composition.judge import Judge
from agent.cost.objective import Objective
from envs.errors import TelosError
from envs.trajectory import Signals, Trajectory, home
from planners.problem import Evaluation, Limits
from worldmodels.belief import Belief
from worldmodels.model import WorldModel


def insist_every_step(model: WorldModel) -> None:
    """Raises TelosError for a model that skips control steps: guardrails would not be checked on skipped steps."""
    if model.stride != 1:
        raise TelosError("world_model.stride", model.stride, "1: costs and guardrails look at every control step")


def answered(futures: Trajectory, actions: Tensor) -> Trajectory:
    """The futures, with signals and doubt as float64 on the CPU, after checking that their shapes match the candidates.

    Guardrails would not be checked on missing steps.

    Args:
        actions: (N,H,A).

    Raises:
        TelosError: the futures have another size.
    """
    number, steps = actions.shape[:2]
    found = {"actions": (futures.actions, steps), "doubt": (futures.doubt, steps)}
    found |= {f"signals.state[{name!r}]": (values, steps + 1) for name, values in futures.signals.state.items()}
    found |= {f"signals.interval[{name!r}]": (values, steps) for name, values in futures.signals.interval.items()}
    states = futures.states
    if states.numel() and states.shape[:2] != (number, steps + 1):
        said = f"shape {tuple(states.shape)} for {number} candidates of {steps} steps"
        raise TelosError("world model: states", said, f"({number}, {steps + 1}, …)")
    abroad = not futures.valid.is_cpu
    for name, (values, length) in found.items():
        if values.shape[:2] != (number, length):
            said = f"shape {tuple(values.shape)} for {number} candidates of {steps} steps"
            raise TelosError(f"world model: {name}", said, f"({number}, {length}, …)")
        abroad = abroad or values.dtype is not torch.float64 or not values.is_cpu
    if futures.valid.shape != (number,):
        raise TelosError("world model: valid", f"shape {tuple(futures.valid.shape)}", f"({number},)")
    return _brought_home(futures) if abroad else futures


def _brought_home(futures: Trajectory) -> Trajectory:
    parts = ({name: home(x) for name, x in part.items()} for part in (futures.signals.state, futures.signals.interval))
    return replace(
        futures,
        actions=home(futures.actions),
        signals=Signals(*parts),
        valid=futures.valid.cpu(),
        doubt=home(futures.doubt),
    )


@dataclass(frozen=True)
class ImaginedProblem:
    """A `planners.problem.Problem` over imagined trajectories from one belief."""

    model: WorldModel
    objective: Objective
    judge: Judge
    start: Belief
    horizon: int
    proposals: Mapping[str, Tensor]
    seed: int = 0  # of this decision: draws of a latent variable follow from it

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: the model skips control steps, or the judge is not calibrated for the horizon.
            GuardrailTampered: the judge's guardrails were changed.
        """
        insist_every_step(self.model)
        self.judge.verify()
        if self.judge.horizon is not None and self.horizon > self.judge.horizon:
            raise TelosError(
                "planner.horizon", self.horizon, f"at most {self.judge.horizon}, as the judge is calibrated"
            )

    @cached_property
    def limits(self) -> Limits:
        return self.judge.limits

    @property
    def action_size(self) -> int:
        return self.model.action_size

    @property
    def dt(self) -> float:
        return self.model.dt

    def imagine(self, actions: Tensor) -> Trajectory:
        """Trajectories of candidates (N,H,A), states included."""
        return answered(self.model.imagine(self.start, actions, states=True), actions)

    def evaluate(self, actions: Tensor) -> Evaluation:
        """Costs, and the worst margin of every guardrail over the whole trajectory.

        Raises:
            TelosError: the model returns futures of another size.
        """
        futures = self.model.imagine(self.start, actions, states=self.objective.reads_states)
        return self.judged(answered(futures, actions))

    def judged(self, trajectory: Trajectory) -> Evaluation:
        """The costs and margins of imagined futures."""
        return self.evaluated(trajectory, self.judge.worst(trajectory))

    def evaluated(self, trajectory: Trajectory, margin: Tensor) -> Evaluation:
        """The costs of imagined futures, with these margins (N,G)."""
        return Evaluation(
            self.objective.step_cost(trajectory, self.start.params),
            self.objective.terminal_cost(trajectory, self.start.params),
            margin,
            trajectory.valid,
            self.limits,
        )
