"""Every test process: one torch thread, and a GL backend that is known to work, or none."""

from __future__ import annotations

from agent.arguments import quiet_gl


def pytest_configure() -> None:
    quiet_gl(video=True)  # before anything imports mujoco or dm_control, which read it once
    import torch

    torch.set_num_threads(1)
