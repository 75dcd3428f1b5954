"""Judges: the one place that turns an imagined trajectory into margins, bound to the guardrails' digest.

N candidates, H control steps, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import torch
from torch import Tensor

from agent.composition.conformal import Widths
from envs.errors import GuardrailTampered, TelosError
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.trajectory import Trajectory, nothing
from planners.problem import Limits


class Judge(Protocol):
    """Computes margins, each in its guardrail's unit; it has no weight, no discount and nothing to learn."""

    @property
    def guardrails(self) -> Guardrails: ...

    @property
    def limits(self) -> Limits:
        """Made anew, so that writing to it changes no later decision."""
        ...

    @property
    def horizon(self) -> int | None:
        """The largest number of control steps that it judges; None where there is no limit."""
        ...

    def verify(self) -> None:
        """Raises GuardrailTampered where the guardrails are not those that the judge was made for."""
        ...

    def margins(self, trajectory: Trajectory) -> Tensor:
        """The margin of every guardrail at every step 1..H, (N,H,G)."""
        ...

    def worst(self, trajectory: Trajectory) -> Tensor:
        """The worst margin of every guardrail over all steps, (N,G)."""
        ...

    def anywhere(self, trajectory: Trajectory) -> Tensor:
        """The worst margin, (N,G), of edges that may lie anywhere in the horizon: as strict as at any of its steps."""
        ...


@dataclass(frozen=True)
class Exact:
    """Margins of the trajectory's own signals, for a model whose signals are those of a simulator."""

    guardrails: Guardrails
    digest: str = ""  # stays with the judge under `dataclasses.replace`; that of `guardrails` where ""
    horizon: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises GuardrailTampered: `guardrails` is no `Guardrails` set, was changed, or does not match `digest`."""
        object.__setattr__(self, "digest", self.digest or digest_of(self.guardrails))
        self.verify()

    def verify(self) -> None:
        # Called on the class, because an object that imitates Guardrails could bring its own `verify`.
        Guardrails.verify(self.guardrails, self.digest)

    @property
    def limits(self) -> Limits:
        return Limits(self.guardrails.tolerance, self.guardrails.scale)

    def margins(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`."""
        if len(self.guardrails) == 0:
            return nothing(*trajectory.actions.shape[:2], 0)
        return self.guardrails.step_margins(trajectory.signals)

    def worst(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`."""
        if len(self.guardrails) == 0:
            return nothing(len(trajectory.actions), 0)
        return self.guardrails.margins(trajectory.signals)

    def anywhere(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`."""
        return self.worst(trajectory)


@dataclass(frozen=True)
class Widened:
    """Margins of predicted signals, less a width that covers the prediction's error.

    The width belongs to a step of the horizon and a guardrail, and was calibrated on rolled-out predictions of the same
    model. A margin of NaN stays NaN: a violation.
    """

    guardrails: Guardrails
    widths: Widths
    recall: float = 0.9  # the least share of real violations that must be seen
    sealed: str = field(default="", init=False)  # digest of the widths

    def __post_init__(self) -> None:
        """
        Raises:
            GuardrailTampered: `guardrails` is no `Guardrails` set, or it is not the one that the widths belong to.
            TelosError: the widths were calibrated on too little data, or miss too many violations.
        """
        copied = replace(self.widths, width=self.widths.width.clone(), recall=self.widths.recall.clone())
        object.__setattr__(self, "widths", copied)
        object.__setattr__(self, "sealed", copied.sha256)
        self.verify()
        if not 0 < self.recall <= 1:
            raise TelosError("widened judge: recall", self.recall, "above 0, at most 1")
        shape = tuple(copied.width.shape)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != len(self.guardrails) or copied.recall.shape != shape[1:]:
            raise TelosError("widened judge: widths", f"shape {shape}", f"(H, {len(self.guardrails)}), H >= 1")
        if not (copied.width >= 0).all():  # negated: NaN too
            raise TelosError("widened judge: widths", f"{float(copied.width.nan_to_num(-1).min()):g}", ">= 0")
        for name, seen in zip(self.guardrails.names, self.widths.recall.tolist(), strict=True):
            if not seen >= self.recall:  # negated: NaN where no violation was among the data
                given = "no violation among its data" if seen != seen else f"a recall of {seen:.3f}"
                raise TelosError(f"widened judge: guardrail {name!r}", given, f"a recall of at least {self.recall:g}")
        for name, width in zip(self.guardrails.names, self.widths.width.amax(0).tolist(), strict=True):
            if not width < float("inf"):
                raise TelosError(f"widened judge: guardrail {name!r}", f"a width of {width}", "more calibration data")

    def verify(self) -> None:
        Guardrails.verify(self.guardrails, self.widths.digest)
        if self.widths.sha256 != self.sealed:
            raise GuardrailTampered("widened judge", "other widths than it was made with", self.sealed)

    @property
    def limits(self) -> Limits:
        return Limits(self.guardrails.tolerance, self.guardrails.scale)

    @property
    def horizon(self) -> int | None:
        """The number of steps that were calibrated; no limit where there is no guardrail."""
        return len(self.widths.width) if len(self.guardrails) else None

    def margins(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`. Raises TelosError for more steps than were calibrated."""
        if len(self.guardrails) == 0:
            return nothing(*trajectory.actions.shape[:2], 0)
        margin = self.guardrails.step_margins(trajectory.signals)
        if margin.shape[1] > len(self.widths.width):
            given = f"{margin.shape[1]} control steps"
            raise TelosError("widened judge", given, f"at most {len(self.widths.width)}, as calibrated")
        return margin - self.widths.width[: margin.shape[1]]

    def worst(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`."""
        if len(self.guardrails) == 0:
            return nothing(len(trajectory.actions), 0)
        return torch.amin(self.margins(trajectory), 1)

    def anywhere(self, trajectory: Trajectory) -> Tensor:
        """See `Judge`: less the largest width of any step."""
        if len(self.guardrails) == 0:
            return nothing(len(trajectory.actions), 0)
        return self.guardrails.margins(trajectory.signals) - self.widths.width.amax(0)


def judge_of(given: object) -> Judge:
    """The judge itself, or the exact one of these guardrails.

    Raises:
        GuardrailTampered: it is neither, but an object that imitates one; or the guardrails were changed.
    """
    if type(given) in (Exact, Widened):
        judge = cast(Judge, given)
        judge.verify()
        return judge
    if type(given) is not Guardrails:
        raise GuardrailTampered("guardrails", f"a {type(given).__name__}", "Guardrails, or a judge of them")
    return Exact(given)
