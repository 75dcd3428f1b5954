"""The choice of a problem's capabilities for a world model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from agent.composition.autograd import AutogradProblem
from agent.composition.branching import (
    DifferentiableProblem,
    DiscretisableProblem,
    MeasurableProblem,
    SteppableProblem,
)
from agent.composition.expansion import LinearisableProblem
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import Risk
from agent.composition.robust import RobustDifferentiableProblem, RobustProblem
from agent.composition.robust_branching import (
    RobustChartedProblem,
    RobustLinearisableProblem,
    RobustMeasurableProblem,
    RobustSteppableProblem,
)
from envs.errors import TelosError
from worldmodels.model import Branching, Comparable, Coordinated, Differentiable, Displaceable, Plural, WorldModel

Kinds = tuple[type, ...]  # of a model
ALONE: tuple[tuple[Kinds, type[ImaginedProblem]], ...] = (
    ((Differentiable,), DifferentiableProblem),
    ((Branching,), SteppableProblem),
    ((Branching, Comparable), MeasurableProblem),
    ((Branching, Coordinated), DiscretisableProblem),
    ((Branching, Displaceable), LinearisableProblem),
    ((Branching, Displaceable, Differentiable), AutogradProblem),
)
ROBUST: tuple[tuple[Kinds, type[ImaginedProblem]], ...] = (
    ((Differentiable,), RobustDifferentiableProblem),
    ((Branching,), RobustSteppableProblem),
    ((Branching, Comparable), RobustMeasurableProblem),
    ((Branching, Coordinated), RobustChartedProblem),
    ((Branching, Displaceable), RobustLinearisableProblem),
)


def problem_over(model: WorldModel, robust: bool) -> type[ImaginedProblem]:
    """The problem class with every capability that the model offers or, if robust, that all its members offer.

    Raises:
        TelosError: robust, over a model of one future.
    """
    if not robust:
        return _joined(ImaginedProblem, tuple(part for kinds, part in ALONE if _offers(model, kinds)))
    if not isinstance(model, Plural):
        raise TelosError("risk", f"with a {type(model).__name__}", "a world model of several futures, as an Ensemble")
    members = model.members(0)
    parts = tuple(part for kinds, part in ROBUST if all(_offers(member, kinds) for member in members))
    return _joined(RobustProblem, parts)


def composer(model: WorldModel, risk: Risk | None) -> Callable[..., ImaginedProblem]:
    """The constructor of problems over the model, which must have several futures where a risk is given."""
    kind = problem_over(model, risk is not None)
    if risk is None:
        return kind
    assert issubclass(kind, RobustProblem)
    return partial(kind, risk=risk)


def _offers(model: WorldModel, kinds: Kinds) -> bool:
    return all(isinstance(model, kind) for kind in kinds)


@lru_cache(maxsize=64)
def _joined(base: type[ImaginedProblem], parts: tuple[type[ImaginedProblem], ...]) -> type[ImaginedProblem]:
    """One class of all parts; of two that offer the same, the later one in the table counts."""
    most = [part for part in reversed(parts) if not any(part in other.__mro__[1:] for other in parts)]
    return type("+".join(part.__name__ for part in most), (*most,), {}) if most else base
