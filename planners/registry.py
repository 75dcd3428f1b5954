"""The table of planners by name; a planner's module is imported only when it is loaded.

Other packages add planners through the entry point group `telos.planners`. The conformance suite tests every planner
in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from planners.params import Refused

GROUP = "telos.planners"


@dataclass(frozen=True)
class Entry:
    """One planner: a class with the three methods of `planners.problem.Planner` and a `Params` dataclass."""

    target: str  # "module:Class"
    summary: str  # one line


BUILT_IN: Mapping[str, Entry] = {
    "random_shooting": Entry("planners.random_shooting:RandomShooting", "uniform candidates; the row to beat"),
    "predictive_sampling": Entry(
        "planners.predictive_sampling:PredictiveSampling",
        "perturbs the best plan; few knots, one iteration (MJPC)",
    ),
    "cem": Entry("planners.cem:Cem", "Gaussian fitted to the elites, publishes its mean (PlaNet)"),
    "icem": Entry("planners.icem:Icem", "CEM with coloured noise and kept elites; the default"),
    "mppi": Entry("planners.mppi:Mppi", "exponentially weighted mean of all candidates"),
    "elite_mppi": Entry("planners.elite_mppi:EliteMppi", "MPPI's mean and spread over the elites (TD-MPC2)"),
    "dial_mpc": Entry("planners.dial_mpc:DialMpc", "MPPI under noise annealed over iterations and along the horizon"),
    "gradient": Entry("planners.gradient:Gradient", "Adam on the actions, with noise restarts; needs a gradient"),
    "ilqr": Entry("planners.ilqr:Ilqr", "iLQR with control limits; needs an expansion of the dynamics"),
    "mcts": Entry("planners.mcts:Mcts", "tree search over macro-actions: PUCT, progressive widening, references first"),
    "value_iteration": Entry("planners.value_iteration:ValueIteration", "dynamic programming on a grid of states"),
    "dijkstra": Entry("planners.dijkstra:Dijkstra", "the cheapest path to a goal over cells of the state space"),
    "a_star": Entry("planners.a_star:AStar", "Dijkstra's, guided by a heuristic that is checked"),
    "sst": Entry("planners.sst:Sst", "stable sparse RRT: a tree over landmark states, for large spaces"),
}


@cache
def table() -> dict[str, Entry]:
    """All planners, built in and from entry points. Raises ValueError if two have the same name."""
    entries = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        if point.name in entries:
            taken = entries[point.name].target
            raise ValueError(f"{GROUP}: {point.name!r} is both {taken} and {point.value}; rename the entry point")
        source = point.dist.name if point.dist else "an unknown distribution"
        entries[point.name] = Entry(point.value, f"from {source}")
    return entries


def load(name: str) -> type[Any]:
    """The planner's class. Raises ValueError if the name is unknown or its target is not a planner."""
    entries = table()
    if name not in entries:
        nearest = _nearest(name, entries)
        hint = "" if nearest is None else f"; did you mean {nearest!r}?"
        raise ValueError(f"planner: {name!r} given, allowed: {', '.join(sorted(entries))}{hint}")
    module, _, attribute = entries[name].target.partition(":")
    where = f"planner {name!r}, at {entries[name].target}"
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # importing another package can raise anything
        raise ValueError(f"{where}: {type(error).__name__}: {error}; allowed: module:Class") from error
    if not isinstance(found, type):
        raise ValueError(f"{where}: a {type(found).__name__}; allowed: module:Class")
    missing = [part for part in ("Params", "needs", "start", "plan", "advance") if not hasattr(found, part)]
    if missing:
        raise ValueError(f"{where}: without {', '.join(missing)}; allowed: a class as `planners.problem.Planner` says")
    if not is_dataclass(found.Params):
        raise ValueError(f"{where}: with Params that are no dataclass; allowed: a dataclass with a default for each")
    return found


def make(name: str, /, **params: Any) -> Any:
    """Create a planner by name, with parameters.

    Raises:
        ValueError: the planner's name is unknown.
        Refused: a parameter's name is unknown, or its value is not allowed.
    """
    planner = load(name)
    allowed = [field.name for field in fields(planner.Params)]
    for given in params:
        if given not in allowed:
            raise Refused(planner.Params.__name__, None, given, ", ".join(sorted(allowed)), _nearest(given, allowed))
    hints = get_type_hints(planner.Params)
    return planner(
        planner.Params(**{key: _strict(planner.Params, key, hints[key], value) for key, value in params.items()})
    )


def _strict(params: type, key: str, kind: Any, given: Any) -> Any:
    """The validated value of a parameter: "1.5" and true are not accepted as numbers, and lists become tuples."""
    try:
        return TypeAdapter(kind).validate_python(tuple(given) if isinstance(given, list) else given, strict=True)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
        raise Refused(params.__name__, key, given, said) from None


def _nearest(given: str, allowed: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(given, list(allowed), n=1)), None)
