"""The flags of a model under which it cannot be planned with."""

from __future__ import annotations

import mujoco

from envs.errors import TelosError

_BEYOND_THE_STATE = ((mujoco.mjtEnableBit.mjENBL_SLEEP, "sleep"), (mujoco.mjtEnableBit.mjENBL_IPC, "ipc"))


def check_flags(where: str, model: mujoco.MjModel) -> None:
    """Refuse a model whose future does not follow from its integration state, or whose signals nobody computes.

    Which bodies sleep, and the contacts of IPC, are kept outside the state; `mujoco.batch.Batch` refuses both.

    Raises:
        TelosError: the flag as MJCF writes it, and what to write instead.
    """
    for flag, name in _BEYOND_THE_STATE:
        if model.opt.enableflags & flag:
            allowed = "a plan starts from the model's state, which does not hold all that this flag adds"
            raise TelosError(where, f'<flag {name}="enable"/>', f'<flag {name}="disable"/>: {allowed}')
    if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_SENSOR:
        allowed = '<flag sensor="enable"/>: signals are read by sensors, and would all be 0'
        raise TelosError(where, '<flag sensor="disable"/>', allowed)
