"""Composition of a world model, an objective and the guardrails into a problem that a planner minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from agent.cost.objective import Objective
from envs.errors import TelosError
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.task import Snapshot
from envs.trajectory import Trajectory, nothing
from planners.problem import Evaluation, Limits
from worldmodels.model import WorldModel


def insist_every_step(model: WorldModel) -> None:
    """Raises TelosError for a model that skips control steps: guardrails would not be checked on skipped steps."""
    if model.stride != 1:
        raise TelosError("world_model.stride", model.stride, "1: costs and guardrails look at every control step")


def answered(futures: Trajectory, actions: Tensor) -> Trajectory:
    """Return the futures after checking that their shapes match the candidates (N,H,A).

    Guardrails would not be checked on missing steps.

    Raises:
        TelosError: the futures have another size.
    """
    number, steps = actions.shape[:2]
    found = {"actions": (futures.actions, steps), "doubt": (futures.doubt, steps)}
    found |= {f"signals.state[{name!r}]": (values, steps + 1) for name, values in futures.signals.state.items()}
    found |= {f"signals.interval[{name!r}]": (values, steps) for name, values in futures.signals.interval.items()}
    for name, (values, length) in found.items():
        if values.shape[:2] != (number, length):
            said = f"shape {tuple(values.shape)} for {number} candidates of {steps} steps"
            raise TelosError(f"world model: {name}", said, f"({number}, {length}, …)")
    if futures.valid.shape != (number,):
        raise TelosError("world model: valid", f"shape {tuple(futures.valid.shape)}", f"({number},)")
    return futures


@dataclass(frozen=True)
class ImaginedProblem:
    """A `planners.problem.Problem` over imagined trajectories from one believed state."""

    model: WorldModel
    objective: Objective
    guardrails: Guardrails
    start: Snapshot
    horizon: int
    proposals: Mapping[str, Tensor]
    digest: str | None = None  # of the guardrails, as the agent keeps it; None: the one they were built with
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: the model skips control steps.
            GuardrailTampered: `guardrails` is no `Guardrails` set, was changed, or does not match `digest`.
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
        return answered(self.model.imagine(self.start, actions, states=True), actions)

    def evaluate(self, actions: Tensor) -> Evaluation:
        """Costs, and the worst margin of every guardrail over the whole trajectory.

        Raises:
            TelosError: the model returns futures of another size.
        """
        futures = self.model.imagine(self.start, actions, states=self.objective.critic is not None)
        return self.judge(answered(futures, actions))

    def judge(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate objective and guardrails on imagined futures."""
        rules = self.guardrails
        margin = rules.margins(trajectory.signals) if len(rules) else nothing(len(trajectory.actions), 0)
        return Evaluation(
            self.objective.step_cost(trajectory, self.start.params),
            self.objective.terminal_cost(trajectory, self.start.params),
            margin,
            trajectory.valid,
            self.limits,
        )
