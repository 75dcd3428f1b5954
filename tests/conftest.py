"""Every test process: one torch thread, no deadlines, and a GL backend that is known to work, or none."""

from __future__ import annotations

from hypothesis import settings

from agent.arguments import quiet_gl

settings.register_profile("telos", deadline=None)  # a busy machine is no fault of the code


def pytest_configure() -> None:
    settings.load_profile("telos")
    quiet_gl(video=True)  # before anything imports mujoco or dm_control, which read it once
    import torch

    torch.set_num_threads(1)
