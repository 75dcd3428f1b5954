"""The choice of the problem class for a world model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agent.composition.branching import BranchingProblem, DifferentiableProblem, PhysicalProblem
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import Risk
from agent.composition.robust import RobustProblem
from agent.composition.robust_branching import RobustPhysicalProblem
from worldmodels.ensemble import Ensemble
from worldmodels.model import Branching, Differentiable, Physical, WorldModel


def problem_over(model: WorldModel) -> type[ImaginedProblem]:
    """The problem class with every capability that the model allows."""
    if isinstance(model, Ensemble):
        return RobustPhysicalProblem if all(isinstance(m, Physical) for m in model.members) else RobustProblem
    if isinstance(model, Physical):
        return PhysicalProblem
    if isinstance(model, Branching):
        return BranchingProblem
    if isinstance(model, Differentiable):
        return DifferentiableProblem
    return ImaginedProblem


def composer(model: WorldModel, risk: Risk | None) -> Callable[..., ImaginedProblem]:
    """The constructor of problems over the model, which must be an `Ensemble` where a risk is given."""
    kind = problem_over(model)
    if risk is None:
        return kind
    assert issubclass(kind, RobustProblem)
    return partial(kind, risk=risk)
