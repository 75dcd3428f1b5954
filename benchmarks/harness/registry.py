"""The benchmarks by name, for `telos bench NAME`; a module is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

Main = Callable[[Sequence[str] | None], int]

MODULES: Mapping[str, str] = MappingProxyType(
    {
        "returns": "benchmarks.returns",
        "quickstart_twins": "benchmarks.quickstart.twins",
        "planners": "benchmarks.planners.planners",
        "sac": "benchmarks.sac.sac",
        "ablations": "benchmarks.ablations",
        "hopeless": "benchmarks.hopeless",
        "robust": "benchmarks.robust",
        "throughput": "benchmarks.systems.throughput",
        "peers": "benchmarks.peers.peers",
        "parallel": "benchmarks.systems.parallel",
        "faults": "benchmarks.systems.faults",
        "scaling": "benchmarks.systems.scaling",
        "tampering": "benchmarks.tampering.tampering",
        "worldmodels": "benchmarks.worldmodels.worldmodels",
    }
)


def load(name: str) -> Main:
    """The `main` of a benchmark, command-line arguments -> exit status. Raises KeyError for an unknown name."""
    return import_module(MODULES[name]).main
