"""`Guardrail`: one rule about the world, as plain numbers and names."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, final, get_args

from envs.errors import GuardrailTampered, TelosError, nearest
from envs.guardrails.kinds import resolve
from envs.guardrails.rule import Granularity, Value
from envs.requests import Request

if TYPE_CHECKING:
    from torch import Tensor

    from envs.trajectory import Signals

_AT = MappingProxyType({"step": "state", "substep": "interval"})


@final
@dataclass(frozen=True, slots=True)
class Guardrail:
    """A signed margin over signals: >= 0 safe, violated when < -tolerance, NaN or infinite.

    No part of it can be learned or weighted: every field is a name or a number, and the digest covers all fields.
    The constructor raises TelosError for a field of the wrong type or value (see the comments).
    """

    name: str  # unique within a set
    kind: str  # key of the table of kinds, which gives the margin function
    rule: tuple[tuple[str, Value], ...]  # the kind's own numbers, by sorted key, in the signal's unit
    signals: tuple[Request, ...]  # the signals that it reads
    tolerance: float  # >= 0, in `unit`
    scale: float  # > 0, the size of a violation, in `unit`, that counts as 1: makes different kinds comparable
    granularity: Granularity  # judged at the state after each step, or at every substep inside
    unit: str  # of the margin

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Guardrail is final: a subclass could judge otherwise than its digest says")

    def __post_init__(self) -> None:
        where = f"guardrail {self.name!r}"
        for field in ("name", "kind", "unit"):
            if type(getattr(self, field)) is not str or not getattr(self, field):
                raise TelosError(f"{where}.{field}", repr(getattr(self, field)), "a name")
        if self.granularity not in get_args(Granularity):
            raise TelosError(f"{where}.granularity", repr(self.granularity), get_args(Granularity))
        if not self.signals:
            raise TelosError(f"{where}.signals", "none", "at least one signal")
        for request in self.signals:
            if request.at != _AT[self.granularity]:
                allowed = f"at {_AT[self.granularity]!r}, which is what granularity {self.granularity!r} reads"
                raise TelosError(f"{where}.signals", f"{request.name} at {request.at!r}", allowed)
        # Exact floats only (not ints, numpy scalars or subclasses), so that equal rules have equal digests.
        plain = {
            "tolerance": _number(f"{where}.tolerance", self.tolerance),
            "scale": _number(f"{where}.scale", self.scale),
            "rule": tuple(sorted((key, _value(f"{where}.{key}", value)) for key, value in self.rule)),
            "signals": tuple(self.signals),
        }
        if plain["tolerance"] < 0:
            raise TelosError(f"{where}.tolerance", self.tolerance, ">= 0")
        if plain["scale"] <= 0:
            raise TelosError(f"{where}.scale", self.scale, "> 0")
        for field, value in plain.items():
            object.__setattr__(self, field, value)

    @property
    def params(self) -> Mapping[str, Any]:
        """The rule's numbers by name: a read-only view of a copy, through which the rule cannot be changed."""
        return MappingProxyType(dict(self.rule))

    def raw_margin(self, signals: Signals) -> Tensor:
        """The signed margin of every component, (N,H,D') or (N,H,K,D'), in `unit`.

        Raises TelosError when a signal is missing or has another shape than the kind needs, and when the kind does not
        return floats with one row per state or substep.
        """
        rule = resolve(self.kind)
        values = [self._read(signals, request, rule.components) for request in self.signals]
        found = rule.margin(self.params, *values)
        each = values[0].shape[:-1]
        if not (isinstance(found, type(values[0])) and found.is_floating_point() and found.shape[:-1] == each):
            given = f"{type(found).__name__} of shape {tuple(found.shape)}, {found.dtype}"
            allowed = f"Tensor of shape ({', '.join(map(str, each))}, D), floats"
            raise TelosError(f"guardrail {self.name!r}: margin", given, allowed)
        return found

    def margin(self, signals: Signals) -> Tensor:
        """The signed margin of each control step, (N,H) in `unit`: the minimum over its components and substeps.

        Judged at the states after the actions 1..H. A margin that is not finite stays so; +inf becomes NaN, because a
        minimum would drop it. The worst margin over the horizon is `.amin(1)`. Raises as `raw_margin`.
        """
        return _worst(self.raw_margin(signals).flatten(2), 2)

    def worst_margin(self, signals: Signals) -> Tensor:
        """The same as `margin(signals).amin(1)`, (N,) in `unit`, in fewer operations."""
        return _worst(self.raw_margin(signals).flatten(1), 1)

    def canonical(self) -> dict[str, Any]:
        """All fields as plain JSON data. Raises GuardrailTampered when a field is not plain."""
        data = {
            "name": self.name,
            "kind": self.kind,
            "rule": dict(self.rule),
            "signals": [{"name": request.name, "at": request.at} for request in self.signals],
            "tolerance": self.tolerance,
            "scale": self.scale,
            "granularity": self.granularity,
            "unit": self.unit,
        }
        _insist_plain(self.name, data)
        return data

    @classmethod
    def from_canonical(cls, data: Mapping[str, Any]) -> Guardrail:
        """The guardrail that `canonical` describes. Raises TelosError as the constructor does."""
        rest = {key: data[key] for key in ("name", "kind", "tolerance", "scale", "granularity", "unit")}
        rule = tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in data["rule"].items())
        signals = tuple(Request(**request) for request in data["signals"])
        return cls(rule=rule, signals=signals, **rest)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles go through the constructor's checks. (The set's own digest is in ruleset.py.)
        text = json.dumps(self.canonical(), sort_keys=True, allow_nan=False)
        return _restore, (text, hashlib.sha256(text.encode()).hexdigest())

    def _read(self, signals: Signals, request: Request, components: int | None) -> Tensor:
        there = signals.interval if request.at == "interval" else signals.state
        try:
            value = there[request.name]
        except KeyError:
            where = f"guardrail {self.name!r} reads {request.at} signal"
            raise TelosError(where, request.name, sorted(there), nearest(request.name, there)) from None
        if value.ndim != (4 if request.at == "interval" else 3) or components not in (None, value.shape[-1]):
            size = "D" if components is None else components
            allowed = f"(N,H,K,{size})" if request.at == "interval" else f"(N,H+1,{size})"
            raise TelosError(f"guardrail {self.name!r}: {request.name}", f"shape {tuple(value.shape)}", allowed)
        return value if request.at == "interval" else signals.after(request.name)


def _refuse(rule: Guardrail, state: object) -> NoReturn:
    raise GuardrailTampered(f"guardrail {rule.name!r}", "a state to overwrite it", "its constructor only")


# The `__setstate__` that dataclass generates for frozen slots would overwrite every field. It is replaced after the
# class is made, because Python 3.11.2's dataclass replaces one that the class defines.
Guardrail.__setstate__ = _refuse  # pyright: ignore[reportAttributeAccessIssue]


def _restore(text: str, digest: str) -> Guardrail:
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise GuardrailTampered("a pickled guardrail", "a text with another digest", digest)
    return Guardrail.from_canonical(json.loads(text))


def _worst(values: Tensor, dim: int) -> Tensor:
    """The minimum over one dimension; NaN where anything is NaN or +inf, which a minimum alone would drop."""
    # Two reductions, because `aminmax` is slower. The second only detects values that are not finite: it adds 0
    # or NaN, and carries no gradient.
    high = values.detach().amax(dim)
    return values.amin(dim) + (high - high)


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TelosError(where, repr(value), "a finite number")
    return float(value) + 0.0  # -0.0 becomes 0.0, so that equal rules have equal digests


def _value(where: str, value: object) -> Value:
    if value is None or type(value) is str:
        return value
    if isinstance(value, tuple):
        return tuple(_number(where, item) for item in value)
    return _number(where, value)


def _insist_plain(name: str, value: object) -> None:
    """Raises GuardrailTampered unless `value` consists of exact builtin types.

    A subclass of float could compare differently from how it prints, and so deceive the digest.
    """
    if type(value) in (str, float, type(None)):
        return
    if type(value) is dict:
        for key, item in value.items():
            _insist_plain(name, key)
            _insist_plain(name, item)
    elif type(value) in (list, tuple):
        for item in value:  # pyright: ignore[reportGeneralTypeIssues]
            _insist_plain(name, item)
    else:
        raise GuardrailTampered(f"guardrail {name!r}", f"a {type(value).__name__} in it", "plain numbers and names")
