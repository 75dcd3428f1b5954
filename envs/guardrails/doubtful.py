"""Warnings about rules that the model's own limits seem to keep already.

Such rules are not refused, because MuJoCo's joint limits are soft and force limits may change with the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import mujoco

from envs.guardrails.guardrail import Guardrail
from envs.physics import signals

BEYOND = 0.1  # fraction of a joint's range; its soft limits yield by less


def doubts(model: mujoco.MjModel, rules: Iterable[Guardrail]) -> Iterator[str]:
    """One sentence about each rule that forbids only what the joint's range or the actuator's limits rule out.

    Args:
        model: the real model, which the rules fit (`envs.sizes`).
        rules: the rules of a run.
    """
    for rule in rules:
        if rule.kind == "joint_position" and _far_beyond(rule, model, model.joint(_object(rule)).id):
            name = _object(rule)
            low, high = model.joint(name).range
            yield (
                f"guardrail {rule.name!r} forbids only what is far beyond the range of joint {name!r}, "
                f"{low:g} to {high:g} {rule.unit}: the joint's own limits keep it, not the agent"
            )
        if rule.kind == "actuator_force":
            name = _object(rule)
            most = _strongest(model, model.actuator(name).id)
            if rule.params["limit"] + rule.tolerance >= most:
                yield (
                    f"guardrail {rule.name!r} forbids only forces above {rule.params['limit']:g} {rule.unit}, but "
                    f"actuator {name!r} makes {most:g} at most: nothing that the agent does can break it"
                )


def _object(rule: Guardrail) -> str:
    return signals.parse(rule.signals[0].name)[1][0]


def _far_beyond(rule: Guardrail, model: mujoco.MjModel, joint: int) -> bool:
    """Whether both bounds of the rule lie outside the joint's limits by more than these limits yield."""
    if not model.jnt_limited[joint]:
        return False
    low, high = model.jnt_range[joint]
    slack = rule.tolerance - BEYOND * (high - low)
    lower, upper = rule.params["lower"], rule.params["upper"]
    return (lower is None or lower - slack < low) and (upper is None or upper + slack > high)


def _strongest(model: mujoco.MjModel, actuator: int) -> float:
    """The largest force (N or N·m) that the actuator's limits allow; inf where it has none."""
    bounds = [float("inf")]
    if model.actuator_forcelimited[actuator]:
        bounds.append(float(abs(model.actuator_forcerange[actuator]).max()))
    plain = (
        model.actuator_gaintype[actuator] == mujoco.mjtGain.mjGAIN_FIXED
        and model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_NONE
        and model.actuator_dyntype[actuator] == mujoco.mjtDyn.mjDYN_NONE
        and model.actuator_ctrlnum[actuator] == 1
        and not model.actuator_damping[actuator].any()
        and not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
    )
    control = model.actuator_ctrladr[actuator]
    if plain and model.actuator_ctrllimited[control]:
        bounds.append(float(abs(model.actuator_gainprm[actuator, 0] * model.actuator_ctrlrange[control]).max()))
    return min(bounds)
