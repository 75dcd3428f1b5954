"""The gate: the last check of an action before it is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import torch

from envs.backup import BackUp
from envs.guard.controller import BackUpController, Neutral
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.physics.variants import Variant
from envs.task import Interface, Snapshot, Task


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on a prefix of actions."""

    passed: bool
    reason: str  # why it was refused; "" where it passed
    back_up: np.ndarray  # (T,A), the back-up's actions after the prefix, over the stop and the rest that must follow


@dataclass(frozen=True)
class Executed:
    """The action that is executed, and why."""

    action: np.ndarray  # (A,) in [-1,1]
    intervened: bool  # the planned action was replaced
    reason: str  # why; "" where the planned action is executed


class Gate:
    """Checks the margins over a prefix of actions, and a safe stop after it, under all physics that are planned for.

    The back-up controller runs closed-loop from the state after the prefix. It must reach its stop set within its
    declared time, and stay there for as long again, at least one second, because a turning point is no rest. Every
    margin must hold throughout. Without a back-up, the gate checks the prefix only.
    """

    def __init__(
        self,
        task: Task,
        interface: Interface,
        guardrails: Guardrails,
        back_up: BackUp | None,
        variants: Sequence[Variant] = (),
    ) -> None:
        """
        Args:
            variants: physics that are planned for besides the nominal ones.

        Raises:
            TelosError: a guardrail on a signal that the model lacks.
            GuardrailTampered: `guardrails` is not a Guardrails object, or was changed.
        """
        self.guardrails = guardrails
        self.digest = digest_of(guardrails)
        self.back_up = back_up
        self.variants = tuple(variants)
        self._interface = interface
        asked = (Variant(), *variants) if len(guardrails) else (Variant(),)  # without rules, nothing is simulated
        self._worlds = [_World(task, interface, guardrails, variant) for variant in asked]
        nominal = self._worlds[0].model
        self._neutral = Neutral(nominal, interface)
        self._controller = None if back_up is None else BackUpController(back_up, nominal, interface)
        self._begun: np.ndarray | None = None  # the controller's reference in the stop under way

    @property
    def steps(self) -> int:
        """Physics steps simulated so far."""
        return sum(world.steps for world in self._worlds)

    def reset(self) -> None:
        """Begin an episode: no stop is under way."""
        self._begun = None

    def check(self, start: Snapshot, prefix: np.ndarray) -> Verdict:
        """Judge executing `prefix` (P,A) from `start`.

        Returns a pass, or the first refusal; the nominal world is tried first. A pass ends a stop that is under way, a
        refusal does not.
        """
        # Called on the class, because an object that imitates Guardrails could bring its own `verify`.
        Guardrails.verify(self.guardrails, self.digest)
        nothing = prefix[:0]
        if not np.isfinite(prefix).all() or np.abs(prefix).max() > 1:
            return Verdict(False, "action not finite or out of range", nothing)
        if len(self.guardrails) == 0:
            self._begun = None
            return Verdict(True, "", nothing)
        verdict = self._judge(start, prefix)
        if verdict.passed:
            self._begun = None
        return verdict

    def try_stop(self, start: Snapshot) -> Verdict:
        """Judge whether the declared back-up could stop safely from `start` itself.

        Passes where there is no back-up or no guardrail.
        """
        if self._controller is None or len(self.guardrails) == 0:
            return Verdict(True, "", np.zeros((0, self._interface.action_size)))
        return self._judge(start, np.zeros((0, self._interface.action_size)))

    def fallback(self, start: Snapshot) -> np.ndarray:
        """The fallback's action (A,) in [-1,1] at `start`: the back-up's, or the neutral control without one.

        The first call after a pass begins a stop; later calls continue it.
        """
        if self._controller is None:
            return self._neutral.action(start.state, start.params)
        self._controller.set_params(start.params)
        if self._begun is None:
            self._begun = self._controller.begin(start.state)
        return self._controller.action(start.state, self._begun)

    def hold(self, start: Snapshot) -> np.ndarray | None:
        """The action (A,) in [-1,1] under which servos hold their position; None for a model without servos."""
        return self._neutral.action(start.state, start.params) if self._neutral.holds else None

    def _judge(self, start: Snapshot, prefix: np.ndarray) -> Verdict:
        if self._controller is not None:
            self._controller.set_params(start.params)
        nominal = self._worlds[0].judge(start, prefix, self._controller)
        if nominal.passed:
            for world in self._worlds[1:]:
                verdict = world.judge(start, prefix, self._controller)
                if not verdict.passed:
                    return replace(verdict, reason=f"{verdict.reason}, under {world.variant}")
        return nominal


class _World:
    """One variant of the physics, under which the gate simulates a prefix and its safe stop."""

    def __init__(self, task: Task, interface: Interface, guardrails: Guardrails, variant: Variant) -> None:
        self.variant = variant
        self.steps = 0  # physics steps simulated so far
        self._guardrails, self._interface = guardrails, interface
        period = interface.control_period
        self._physics = BatchPhysics(task.spec, guardrails.requests, period, threads=1, variant=variant)
        self._data = mujoco.MjData(self._physics.model)

    @property
    def model(self) -> mujoco.MjModel:
        """The model of this variant; do not write to it."""
        return self._physics.model

    def judge(self, start: Snapshot, prefix: np.ndarray, controller: BackUpController | None) -> Verdict:
        """Judge whether prefix (P,A) and the controller's stop keep every margin under this variant."""
        self._physics.set_params(start.params)
        back_up, unrest = self._stop(start, prefix, controller)
        controls = self._interface.native(np.concatenate([prefix, back_up]))
        recording = self._physics.rollout(start.state, controls[None])
        self.steps += len(controls) * self._physics.substeps
        if not bool(recording.valid):
            return Verdict(False, "the simulation diverged", back_up)
        rules = self._guardrails
        margins = rules.step_margins(recording.signals)[0]
        broken = rules.violated(margins)
        if broken.any():
            step, which = (int(index) for index in torch.nonzero(broken)[0])
            name, margin = rules.names[which], float(margins[step, which])
            where = f"step {step + 1}" if step < len(prefix) else f"step {step + 1 - len(prefix)} of the safe stop"
            return Verdict(False, f"{name} at {where}: margin {margin:.4g} {rules.units[which]}", back_up)
        return Verdict(not unrest, unrest, back_up)

    def _stop(self, start: Snapshot, prefix: np.ndarray, controller: BackUpController | None) -> tuple[np.ndarray, str]:
        """The back-up's actions (T,A) from the state after the prefix, and why they do not stop; "" where they do."""
        model, data = self._physics.model, self._data
        if controller is None:
            return prefix[:0], ""
        mujoco.mj_setState(model, data, start.state, INTEGRATION)
        for action in prefix:
            self._advance(action)
        state, actions = np.empty(len(start.state)), []
        mujoco.mj_getState(model, data, state, INTEGRATION)
        begun = controller.begin(state)
        # Simulate the whole time, even if rest comes earlier: a slow drift must not enter a zone.
        stop, rest = controller.steps, controller.rest_steps
        for step in range(stop + rest):
            actions.append(controller.action(state, begun))
            self._advance(actions[-1])
            mujoco.mj_getState(model, data, state, INTEGRATION)
            if step >= stop - 1 and not controller.at_rest(state):
                rested = step - (stop - 1)
                why = f"rests for {rested} of {rest} steps" if rested else "does not come to rest in time"
                return np.array(actions), f"the safe stop {why}"
        return np.array(actions), ""

    def _advance(self, action: np.ndarray) -> None:
        self._data.ctrl[:] = self._interface.native(action)
        mujoco.mj_step(self._physics.model, self._data, nstep=self._physics.substeps)
        self.steps += self._physics.substeps
