"""Learning the cost-to-go of goals from the experience itself: how long it took to come from one state to another.

B pairs, D latent size. Source: expectile regression of elapsed time (expectiles: Kostrikov et al. 2022, eq. 5; temporal
distance beside latent distance: arXiv 2605.22164).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agent.cost.reach import ReachHead
from agent.learning import optimisers
from agent.learning.learner import cosine, inside, load
from agent.learning.recipe import ReachConfig
from agent.memory.ring import Ring
from envs.errors import TelosError
from worldmodels.layers import initialise


class Reach:
    """The learner of a `ReachHead`. All randomness of an update derives from the seed and the update's number."""

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        latent: int,
        settings: ReachConfig,
        unit: int,
        frames: int,
        seed: int,
    ) -> None:
        """
        Args:
            encode: observations (B,F) -> latents (B,D); it is not trained here.
            unit: control steps, in which the regression is done.
            frames: of the whole run, which the learning rate is scheduled over.
        """
        self.settings, self.seed = settings, seed
        self.updates_per_frame = settings.updates_per_frame
        self.head = ReachHead(latent, settings.width, unit)
        initialise(self.head, seed)
        self._encode, self._updates = encode, max(int(frames * settings.updates_per_frame), 1)
        self._optimiser = torch.optim.AdamW(self.head.parameters(), settings.rate, weight_decay=1e-5, fused=True)

    def ready(self, ring: Ring) -> bool:
        """Whether there is experience to learn from."""
        return ring.steps > 0

    def update(self, ring: Ring, number: int) -> dict[str, float]:
        """Update number `number` of the run; the loss by name.

        Raises:
            TelosError: the loss is not finite; weights stay as they were.
        """
        settings, draws = self.settings, np.random.default_rng([self.seed, number])
        pairs = ring.pairs(draws, settings.batch)
        apart = torch.from_numpy(draws.random(settings.batch) < settings.negatives)
        with torch.no_grad():
            latents, goals = self._encode(torch.stack([pairs.before, pairs.after]))
            goals = torch.where(apart[:, None], goals.roll(1, 0), goals)  # another episode's, for almost all
        wanted = torch.where(apart, float(settings.longest), pairs.steps)
        missed = (wanted - self.head(latents, goals)) / self.head.unit
        weight = torch.where(missed < 0, 1 - settings.expectile, settings.expectile)
        loss = (weight * missed.square()).mean()
        found = float(loss.detach())
        if not math.isfinite(found):
            raise TelosError("reach", f"a loss of {found} in update {number}", "a lower reach.rate")
        for group in self._optimiser.param_groups:
            group["lr"] = settings.rate * cosine(number / self._updates)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        return {"reach": found}

    def state(self) -> dict[str, Tensor]:
        """The tensors of head and optimiser, from which `restore` continues bit for bit."""
        found = {f"head/{name}": value for name, value in self.head.state_dict().items()}
        return found | {f"optimiser/{key}": value for key, value in optimisers.tensors_of(self._optimiser).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises TelosError where it does not fit."""
        load(self.head, inside(tensors, "head"))
        optimisers.restore(self._optimiser, inside(tensors, "optimiser"))

    def parts(self) -> tuple[dict[str, Any], dict[str, nn.Module]]:
        """The head as a part of a checkpoint: how it is rebuilt, and the module that its tensors come from."""
        about = {"latent": self.head.latent, "width": self.head.width, "unit": self.head.unit}
        return {"reach": {**about, "beyond": self.settings.beyond}}, {"reach": self.head}
