"""Refuses model flags that make planning impossible."""

from __future__ import annotations

import mujoco

from envs.errors import TelosError

_BEYOND_THE_STATE = ((mujoco.mjtEnableBit.mjENBL_SLEEP, "sleep"), (mujoco.mjtEnableBit.mjENBL_IPC, "ipc"))


def check_flags(where: str, model: mujoco.MjModel) -> None:
    """Refuse a model whose future does not follow from its integration state, or whose sensors are disabled.

    The integration state contains neither which bodies sleep nor the contacts of IPC; `mujoco.batch.Batch` refuses both
    flags.

    Raises:
        TelosError: such a flag; the message has it in MJCF, and what to write instead.
    """
    for flag, name in _BEYOND_THE_STATE:
        if model.opt.enableflags & flag:
            allowed = "a plan starts from the model's state, which does not hold all that this flag adds"
            raise TelosError(where, f'<flag {name}="enable"/>', f'<flag {name}="disable"/>: {allowed}')
    if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_SENSOR:
        allowed = '<flag sensor="enable"/>: signals are read by sensors, and would all be 0'
        raise TelosError(where, '<flag sensor="disable"/>', allowed)
