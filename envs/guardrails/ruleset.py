"""The set of guardrails in force: frozen, sealed with a digest, and never relaxed.

It provides assurance level L1: no rule changes by accident, and `verify` detects every change by comparison with a
digest kept elsewhere. Python cannot prevent code in the same process from patching a function or a class. That takes a
monitor with its own copy (L2) or another process (L3).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, final

from envs.errors import GuardrailTampered, GuardrailWeakened, TelosError
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import resolve
from envs.requests import Request

if TYPE_CHECKING:
    from torch import Tensor

    from envs.trajectory import Signals

FORMAT = "telos.guardrails/1"  # increased when the meaning of the same numbers changes


@final
class Guardrails:
    """G guardrails, in the order of their names, which is the order of every (…,G) tensor.

    No guardrail can be removed. Raises TelosError for two of the same name.
    """

    __slots__ = ("_members", "_seal")
    _members: tuple[Guardrail, ...]
    _seal: str  # the digest at construction, which copies and pickles must have too

    def __init__(self, members: Iterable[Guardrail] = ()) -> None:
        if hasattr(self, "_members"):
            raise GuardrailTampered("Guardrails", "a second __init__", "building another set")
        members = tuple(members)
        for member in members:
            if type(member) is not Guardrail:
                raise TelosError("Guardrails", f"a {type(member).__name__}", "Guardrail (see registry.build)")
        names = [member.name for member in members]
        for name in names:
            if names.count(name) > 1:
                raise TelosError("guardrails", f"two named {name!r}", "unique names")
        object.__setattr__(self, "_members", tuple(sorted(members, key=lambda member: member.name)))
        object.__setattr__(self, "_seal", self.digest)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Guardrails is final: a subclass could judge otherwise than its digest says")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise GuardrailTampered(f"Guardrails.{name}", "an assignment", "strengthened(more), which makes a new set")

    def __delattr__(self, name: str) -> NoReturn:
        raise GuardrailTampered(f"Guardrails.{name}", "a deletion", "nothing: a guardrail stays")

    # -- contents ------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self._members)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(member.unit for member in self._members)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All signals that the guardrails read, each once, sorted."""
        return tuple(sorted({request for member in self._members for request in member.signals}))

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Guardrail]:
        return iter(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Guardrail:
        for member in self._members:
            if member.name == name:
                return member
        raise TelosError.unknown("guardrails", name, self.names)

    def __eq__(self, other: object) -> bool:
        return type(other) is Guardrails and self._members == other._members

    def __hash__(self) -> int:
        return hash(self._members)

    def __repr__(self) -> str:
        return f"Guardrails({', '.join(self.names)}; {self.digest[:12]})"

    # -- judging ------------------------------------------------------------------------------------------

    def margins(self, signals: Signals) -> Tensor:
        """The worst margin of each guardrail over all steps, (N,G), each in its unit.

        The same as `step_margins(signals).amin(1)`. Raises TelosError when a signal is missing, and when there is
        neither a guardrail nor a signal, so that N is unknown.
        """
        return _columns([member.worst_margin(signals) for member in self._members], signals, 1)

    def step_margins(self, signals: Signals) -> Tensor:
        """The margin of each guardrail at each step 1..H, (N,H,G), each in its unit. Raises as `margins`."""
        return _columns([member.margin(signals) for member in self._members], signals, 2)

    def violated(self, margin: Tensor) -> Tensor:
        """Which margins (…,G) break their guardrail, (…,G) bool: below -tolerance, NaN or infinite.

        Raises TelosError when the last axis is not G long, because broadcasting would give nonsense.
        """
        if margin.shape[-1:] != (len(self),):
            raise TelosError("violated: margin", f"shape {tuple(margin.shape)}", f"(…,{len(self)})")
        # Negated, because every comparison with NaN is False.
        return ~((margin >= -self.tolerance.to(margin.device)) & (margin < float("inf")))

    @property
    def tolerance(self) -> Tensor:
        """(G,), each in its unit; a new tensor, so writing to it does not change this set."""
        return _vector([member.tolerance for member in self._members])

    @property
    def scale(self) -> Tensor:
        """(G,), the violation of each that counts as 1; a new tensor, so writing to it does not change this set."""
        return _vector([member.scale for member in self._members])

    # -- integrity -------------------------------------------------------------------------------

    @property
    def canonical_json(self) -> str:
        """All fields of all guardrails as one text: sorted by name, floats as `repr` writes them, ASCII.

        Raises GuardrailTampered when the set contains something that the constructors refuse.
        """
        try:
            for member in self._members:
                if type(member) is not Guardrail:
                    raise GuardrailTampered("guardrails", f"a {type(member).__name__}", "Guardrail")
            rows = [Guardrail.canonical(member) for member in self._members]
            rows.sort(key=lambda row: row["name"])
            data = {"format": FORMAT, "guardrails": rows}
            return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except GuardrailTampered:
            raise
        except Exception as error:  # tampered content can raise anything
            raise GuardrailTampered("guardrails", f"content that cannot be read ({error!r})") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, hexadecimal; computed from the content each time, not cached."""
        return hashlib.sha256(self.canonical_json.encode()).hexdigest()

    def verify(self, expected_digest: str) -> None:
        """Recompute the digest from the content; raises GuardrailTampered when it is not the expected one.

        The expected digest must be kept outside this object. To refuse an object that imitates a set of guardrails as
        well, call `Guardrails.verify(rules, digest)`.
        """
        if type(self) is not Guardrails:
            raise GuardrailTampered("guardrails", f"a {type(self).__name__}", "Guardrails")
        found = self.digest
        if found != expected_digest or found != self._seal:
            # The names come from changed content, so they are a hint and not evidence.
            wanted = expected_digest if found != expected_digest else self._seal
            raise GuardrailTampered(f"guardrails ({', '.join(self.names)})", f"digest {found}", wanted)

    @classmethod
    def from_json(cls, text: str, expected_digest: str) -> Guardrails:
        """The set whose `canonical_json` is `text`. Raises GuardrailTampered when the text has another digest."""
        if hashlib.sha256(text.encode()).hexdigest() != expected_digest:
            raise GuardrailTampered("guardrails", "a text with another digest", expected_digest)
        rules = cls(Guardrail.from_canonical(row) for row in json.loads(text)["guardrails"])
        rules.verify(expected_digest)
        return rules

    def __reduce__(self) -> tuple[Callable[..., Guardrails], tuple[Any, ...]]:
        # Used by copy, deepcopy and pickle. The copy gets the seal and not the present digest, because copying a
        # changed set must not re-seal it.
        self.verify(self._seal)
        return Guardrails.from_json, (self.canonical_json, self._seal)

    # -- composition --------------------------------------------------------------------------------------

    def strengthened(self, more: Guardrails) -> Guardrails:
        """These guardrails and `more`; one of `more` replaces one of the same name, and must be at least as strict.

        Raises GuardrailWeakened for one that relaxes or relabels, GuardrailTampered when either set was changed.
        """
        for rules in (self, more):
            if type(rules) is not Guardrails:
                raise TelosError("guardrails to add", f"a {type(rules).__name__}", "Guardrails")
            rules.verify(rules._seal)
        kept = {member.name: member for member in self._members}
        for member in more._members:
            if member.name in kept:
                _insist_at_least_as_strict(member, kept[member.name])
            kept[member.name] = member
        return Guardrails(kept.values())


def digest_of(rules: Guardrails) -> str:
    """The digest of a set, to be kept outside it. Raises GuardrailTampered for a changed set or another type."""
    if type(rules) is not Guardrails:
        raise GuardrailTampered("guardrails", f"a {type(rules).__name__}", "Guardrails")
    rules.verify(rules._seal)
    return rules._seal


def _insist_at_least_as_strict(new: Guardrail, old: Guardrail) -> None:
    """Raises GuardrailWeakened unless all that violates `old` violates `new`, by at least the same scaled amount."""
    where = f"guardrail {old.name!r}"
    # Scale and unit weight violations against each other, so changing them in either direction is relabelling.
    for field in ("kind", "unit", "scale"):
        if getattr(new, field) != getattr(old, field):
            raise GuardrailWeakened(f"{where}.{field}", repr(getattr(new, field)), f"{getattr(old, field)!r}, as it is")
    names = [tuple(request.name for request in rule.signals) for rule in (new, old)]
    if names[0] != names[1]:
        raise GuardrailWeakened(f"{where}.signals", ", ".join(names[0]), f"{', '.join(names[1])}, as it is")
    # The last substep is the state after the step, so "substep" includes all that "step" judges.
    if (new.granularity, old.granularity) == ("step", "substep"):
        raise GuardrailWeakened(f"{where}.granularity", "'step'", "'substep', as it is")
    if not new.tolerance <= old.tolerance:
        raise GuardrailWeakened(f"{where}.tolerance", new.tolerance, f"<= {old.tolerance} {old.unit}")
    a, b = new.params, old.params
    if a.keys() != b.keys() or not resolve(old.kind).at_least_as_strict(a, b):
        text = [", ".join(f"{key} {value}" for key, value in params.items()) for params in (a, b)]
        raise GuardrailWeakened(where, text[0], f"at least as strict as {text[1]}")


def _columns(columns: list[Tensor], signals: Signals, dims: int) -> Tensor:
    """(N,G) or (N,H,G) from G times (N,) or (N,H)."""
    import torch

    if len(columns) == 1:
        return columns[0].unsqueeze(-1)
    if columns:
        return torch.stack(columns, dim=-1)
    for value in signals.state.values():
        return value[:, 1:].new_zeros((*value[:, 1:].shape[:dims], 0))
    for value in signals.interval.values():
        return value.new_zeros((*value.shape[:dims], 0))
    raise TelosError("margins of no guardrails", "no signals", "at least one signal, to tell how many candidates")


def _vector(values: list[float]) -> Tensor:
    import torch

    return torch.tensor(values, dtype=torch.float64)
