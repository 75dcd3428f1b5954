"""Finds rules with memory: those whose margin at a step depends on more than the signals of that step.

Planner, gate and monitor judge different stretches of time: a planner a whole horizon or a single edge of a tree, the
gate a decision and the stop after it, the monitor the step that was taken. The worst margin of a trajectory is
composed from the margins of its parts. All of that is right only if a step has the same margin wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import resolve

N, H, K = 2, 6, 2  # candidates, control steps and substeps of the trajectories that are tried
SCALES = (0.1, 1.0, 100.0)  # of their signals
ROUNDING = 1e-9  # relative to the largest margin: batches of other sizes may be summed in another order


def remembers(rule: Guardrail) -> bool:
    """Whether margins of random trajectories differ from those of each of their moments, judged alone.

    A moment is the state after a step, or a substep at granularity "substep". Moments are judged last one first, which
    also reveals a rule that keeps something from one call to the next. A rule whose memory shows only under signals
    that were not tried passes, and so does one that cannot judge random signals at all.
    """
    try:
        return any(_differs(rule, values) for values in _trajectories(rule))
    except Exception:  # code of a plug-in can raise anything; what is wrong shows at the first judgement
        return False


def _trajectories(rule: Guardrail) -> Iterator[list[Tensor]]:
    """Yield random values of the rule's signals, each (N,H,D) or (N,H,K,D)."""
    generator = torch.Generator().manual_seed(0)
    shape = (N, H) if rule.granularity == "step" else (N, H, K)
    size = resolve(rule.kind).components or 1
    for scale in SCALES:
        yield [
            scale * torch.randn(*shape, size, dtype=torch.float64, generator=generator)
            for _ in range(len(rule.signals))
        ]


def _differs(rule: Guardrail, values: list[Tensor]) -> bool:
    """Whether the margins of these trajectories are not those of their moments."""
    margin, axes = resolve(rule.kind).margin, values[0].ndim - 1
    whole = margin(rule.params, *values).flatten(0, axes - 1)  # (n,D'), of n moments
    moments = [value.flatten(0, axes - 1) for value in values]  # (n,D) each
    alone = torch.empty_like(whole)
    for n in reversed(range(len(whole))):
        try:
            alone[n] = margin(rule.params, *(value[n].reshape(*[1] * axes, -1) for value in moments)).flatten()
        except Exception:  # it judges a trajectory, but not a moment of it
            return True
    slack = ROUNDING * float(whole.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return not torch.allclose(whole, alone, rtol=0, atol=slack, equal_nan=True)
