"""Composition of a world model, an objective and the guardrails into what a planner minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from agent.costs import Objective
from envs.errors import TelosError
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.task import Snapshot
from envs.trajectory import Trajectory, nothing
from planners.problem import Evaluation, Limits
from worldmodels.model import WorldModel


def insist_every_step(model: WorldModel) -> None:
    """Raises TelosError for a model that skips control steps: between them nobody would look at the guardrails."""
    if model.stride != 1:
        raise TelosError("world_model.stride", model.stride, "1: costs and guardrails look at every control step")


@dataclass(frozen=True)
class ImaginedProblem:
    """A `planners.problem.Problem` over imagined trajectories from one believed state."""

    model: WorldModel
    objective: Objective
    guardrails: Guardrails
    start: Snapshot
    horizon: int
    proposals: Mapping[str, Tensor]
    digest: str | None = None  # of the guardrails, as the agent keeps it; None: the one they were born with
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: a model that skips control steps.
            GuardrailTampered: no set of guardrails, a changed one, or another than `digest` says.
        """
        insist_every_step(self.model)
        Guardrails.verify(self.guardrails, digest_of(self.guardrails) if self.digest is None else self.digest)
        object.__setattr__(self, "limits", Limits(self.guardrails.tolerance, self.guardrails.scale))

    @property
    def action_size(self) -> int:
        return self.model.action_size

    @property
    def dt(self) -> float:
        return self.model.dt

    def imagine(self, actions: Tensor) -> Trajectory:
        """Trajectories of candidates (N,H,A), states included."""
        return self.model.imagine(self.start, actions, states=True)

    def evaluate(self, actions: Tensor) -> Evaluation:
        """Costs, and the worst margin of every guardrail over the whole trajectory."""
        return self.judge(self.model.imagine(self.start, actions, states=self.objective.critic is not None))

    def judge(self, trajectory: Trajectory) -> Evaluation:
        """What objective and guardrails say about imagined futures."""
        rules = self.guardrails
        margin = rules.margins(trajectory.signals) if len(rules) else nothing(len(trajectory.actions), 0)
        return Evaluation(
            self.objective.step_cost(trajectory, self.start.params),
            self.objective.terminal_cost(trajectory, self.start.params),
            margin,
            trajectory.valid,
            self.limits,
        )
