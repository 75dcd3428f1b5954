"""The independent monitor: scores every guardrail on raw simulator state, whatever the agent believed.

It owns a copy of the real model and of the guardrails (assurance level L2). To see every physics substep, it simulates
a control step again, from the raw state before it and under the control that was really in force. The result must equal
the raw state after the step bit for bit; otherwise the step counts as violated.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.guardrails.ruleset import Guardrails, digest_of
from envs.physics.batch import BatchPhysics
from envs.physics.variants import Variant
from envs.task import Interface, Snapshot, Task


@dataclass(frozen=True)
class Judgement:
    """The monitor's judgement of one control step."""

    margin: Tensor  # (G,), in each guardrail's unit; -inf where the step could not be verified
    violated: Tensor  # (G,) bool
    verified: bool  # whether simulating the step again gave the same raw state

    @property
    def safe(self) -> bool:
        return self.verified and not bool(self.violated.any())


class Monitor:
    """Judges raw steps against its own copy of the guardrails."""

    def __init__(
        self, task: Task, interface: Interface, guardrails: Guardrails, variant: Variant | None = None
    ) -> None:
        """
        Args:
            task: the task whose steps are judged.
            interface: the task's control period and actions.
            guardrails: copied here, and verified against their digest at every judgement.
            variant: how the real model differs from the nominal one.

        Raises:
            TelosError: a guardrail on a signal that the model lacks.
            GuardrailTampered: `guardrails` is not a Guardrails object, or was changed.
        """
        self.digest = digest_of(guardrails)
        self.guardrails = copy.deepcopy(guardrails)
        self._physics = BatchPhysics(
            task.spec, self.guardrails.requests, interface.control_period, threads=1, variant=variant
        )
        # Decided by the signals that `look` returns, because a sensor's name does not tell its stage.
        there = self._physics.at_rest
        self._at_reset = Guardrails(g for g in self.guardrails if there.issuperset(g.signals))

    def judge(self, before: Snapshot, control: np.ndarray, after: Snapshot) -> Judgement:
        """Judge the step that led from `before` to `after` under native `control` (A,)."""
        Guardrails.verify(self.guardrails, self.digest)
        if len(self.guardrails) == 0:
            nothing = torch.zeros(0, dtype=torch.float64)
            return Judgement(nothing, nothing.bool(), True)
        self._physics.set_params(before.params)
        recording = self._physics.rollout(before.state, np.asarray(control)[None, None], states=True)
        same = bool(recording.valid) and np.array_equal(recording.states[0, -1].numpy(), after.state)
        margin = self.guardrails.margins(recording.signals)[0].clone()
        if not same:
            margin[:] = -torch.inf
        return Judgement(margin, self.guardrails.violated(margin), same)

    def judge_reset(self, start: Snapshot) -> bool:
        """Whether an episode may begin at `start`.

        Guardrails on forces are not judged, because no step has been taken yet. Where there is any guardrail, a state
        that cannot be simulated is refused.
        """
        Guardrails.verify(self.guardrails, self.digest)
        if len(self.guardrails) == 0:
            return True
        self._physics.set_params(start.params)
        seen = self._physics.look(start.state)
        if seen is None or len(self._at_reset) == 0:
            return seen is not None
        return not bool(self._at_reset.violated(self._at_reset.margins(seen)).any())
