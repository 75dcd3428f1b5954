"""pytorch-mppi's side of `telos bench peers`: its MPPI in the latent world of `latent.py`.

pytorch-mppi 0.9.1 (University of Michigan, ARM Lab). This file runs inside the peer's own virtual environment and
imports nothing of telos.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch


class PytorchMppi:
    """A `child.Side`, on one thread of torch."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from latent import ACTION, LATENT, Network  # pyright: ignore[reportMissingImports]
        from pytorch_mppi import MPPI  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(settings["threads"])
        torch.manual_seed(0)  # pytorch-mppi draws from the global generator
        network = Network(settings["seed"])
        self.controls = torch.tensor(settings["controls"], dtype=torch.float32)
        candidates, horizon, _ = self.controls.shape
        self.state = network.start
        self.planner = MPPI(
            network.step,
            network.cost,
            LATENT,
            noise_sigma=settings["std"] ** 2 * torch.eye(ACTION),
            num_samples=candidates,
            horizon=horizon,
            u_min=-torch.ones(ACTION),
            u_max=torch.ones(ACTION),
        )
        self.planner.state = self.state  # as `command` sets it; `totals` and `roll_out` need it
        versions = {"pytorch-mppi": version("pytorch-mppi"), "torch": torch.__version__}
        self.about = {"versions": versions, "threads": torch.get_num_threads()}

    @torch.inference_mode()
    def decide(self) -> None:
        self.planner.command(self.state, shift_nominal_trajectory=False)

    @torch.inference_mode()
    def roll_out(self) -> None:
        self.planner._compute_rollout_costs(self.controls)

    @torch.inference_mode()
    def totals(self) -> list[float]:
        costs, _, _ = self.planner._compute_rollout_costs(self.controls)
        return costs.tolist()


def side(settings: Mapping[str, Any]) -> PytorchMppi:
    """The side that `child.py` times."""
    return PytorchMppi(settings)
