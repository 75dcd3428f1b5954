"""The independent judge: scores every guardrail on raw simulator state, whatever the agent believed.

It owns a copy of the real model and of the guardrails (assurance level L2). A control step is run
again from the raw state before it, with the control that was really in force, so that every physics
substep is seen; the end must equal the raw state after it bit for bit, or the step counts as violated.
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
    """What the monitor says about one control step."""

    margin: Tensor  # (G,), in each guardrail's unit; -inf where the step could not be verified
    violated: Tensor  # (G,) bool
    verified: bool  # whether the step could be run again to the same raw state

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
            task: what the world is.
            interface: its control period and actions.
            guardrails: copied, and verified against their digest at every judgement.
            variant: how the real model differs from the nominal one.

        Raises:
            TelosError: a guardrail on a signal that the model lacks.
            GuardrailTampered: no set of guardrails, or a changed one.
        """
        self.digest = digest_of(guardrails)
        self.guardrails = copy.deepcopy(guardrails)
        self._physics = BatchPhysics(
            task.spec, self.guardrails.requests, interface.control_period, threads=1, variant=variant
        )
        # What `look` really returns decides: a sensor's stage does not stand in its name.
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
        """Whether an episode may begin here; guardrails on forces have nothing to judge yet.

        Under any guardrail, none begins at a state that cannot be simulated.
        """
        Guardrails.verify(self.guardrails, self.digest)
        if len(self.guardrails) == 0:
            return True
        self._physics.set_params(start.params)
        seen = self._physics.look(start.state)
        if seen is None or len(self._at_reset) == 0:
            return seen is not None
        return not bool(self._at_reset.violated(self._at_reset.margins(seen)).any())
