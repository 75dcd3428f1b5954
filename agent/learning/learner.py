"""The learner of a JEPA: one update is a window batch, the weighted losses, and a step of AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from agent.learning import optimisers
from agent.learning.recipe import LearnConfig
from agent.memory.ring import Ring, Windows
from envs.errors import TelosError
from worldmodels import losses
from worldmodels.jepa.networks import Networks

ODD = 0x9E3779B1  # spreads row numbers over 32 bits (Knuth's multiplicative hash)


class Learner:
    """Trains the networks of a JEPA. All randomness of an update derives from the seed and the update's number."""

    def __init__(
        self, networks: Networks, weights: Mapping[str, float], settings: LearnConfig, updates: int, seed: int
    ) -> None:
        """
        Args:
            weights: loss term -> weight.
            updates: of the whole run, which the learning rate is scheduled over.
        """
        self.networks, self.settings = networks, settings
        self._weights, self._updates, self._seed = weights, max(updates, 1), seed
        self._trained = [p for p in networks.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self._trained, settings.rate, weight_decay=settings.decay, fused=True)

    def update(self, ring: Ring, number: int) -> dict[str, float]:
        """Update number `number` of the run; the loss terms by name.

        Raises:
            TelosError: a term or the gradient is not finite; weights stay as they were.
        """
        draws = np.random.default_rng([self._seed, number])
        windows = ring.sample(draws, self.settings.batch, self.settings.window)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(number)
        self.networks.train()
        rollout = self.rollout(windows, int(draws.integers(2**62)))
        total, terms = losses.total(rollout, self._weights)
        found = {name: float(value) for name, value in terms.items()}
        wrong = next((name for name, value in found.items() if not math.isfinite(value)), None)
        if wrong is not None:
            allowed = "a finite number: try a lower learn.rate, or a smaller weight of this term"
            raise TelosError(f"losses.{wrong}", f"{found[wrong]} in update {number}", allowed)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self.settings.clip))
        if not math.isfinite(norm):  # clipping by an infinite norm would write NaN into all weights
            raise TelosError("losses", f"a gradient of norm {norm} in update {number}", "a lower learn.rate")
        self.optimiser.step()
        if self.settings.target == "teacher":
            self.networks.teach(self.settings.teacher_rate)
        return found

    def rollout(self, windows: Windows, seed: int) -> losses.Rollout:
        """What the losses read of these windows."""
        networks, every = self.networks, self.settings.every
        seen = windows.observations[:, ::every]
        inputs = networks.inputs(seen)
        latents = networks.encode(seen)
        targets = latents
        if self.settings.target == "stop":
            targets = latents.detach()
        elif self.settings.target == "teacher":
            targets = networks.taught(seen)
        predicted = networks.roll(latents[:, 0], windows.actions)[:, :, every - 1 :: every]
        number, inside = len(seen), windows.inside[:, every - 1 :: every]
        return losses.Rollout(
            latents=latents,
            targets=targets,
            predicted=predicted,
            actions=windows.actions.reshape(number, self.settings.moments, -1),
            inside=inside,
            weight=self._kept(windows)[:, :, None] * inside,
            inverse=networks.action_between,
            inverse_ends=networks.actions_between,
            decode=networks.decode,
            inputs=inputs,
            generator=torch.Generator().manual_seed(seed),
        )

    def rate(self, number: int) -> float:
        """The learning rate of an update."""
        if self.settings.schedule == "constant":
            return self.settings.rate
        return self.settings.rate * cosine(number / self._updates, self.settings.warm_up)

    def _kept(self, windows: Windows) -> Tensor:
        """Which windows each member learns from, (M,B): always the same share of all, so that members stay apart."""
        members = self.networks.params.members
        if members == 1:
            return torch.ones(1, len(windows.steps))
        mixed = (windows.steps[None] + 1_000_003 * torch.arange(1, members + 1)[:, None]) * ODD % 2**32
        return (mixed < self.settings.keep * 2**32).float()

    def state(self) -> dict[str, Tensor]:
        """The tensors of networks and optimiser, from which `restore` continues bit for bit."""
        found = {f"networks/{name}": value for name, value in self.networks.state_dict().items()}
        return found | {f"optimiser/{key}": value for key, value in optimisers.tensors_of(self.optimiser).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises TelosError where it does not fit."""
        load(self.networks, inside(tensors, "networks"))
        optimisers.restore(self.optimiser, inside(tensors, "optimiser"))


def cosine(done: float, warm_up: float = 0.1) -> float:
    """The factor of a learning rate: it rises linearly to 1, then falls to 0 as a half cosine.

    Args:
        done: share of the updates.
        warm_up: share in which it rises.
    """
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * min((done - warm_up) / (1 - warm_up), 1.0)))


def inside(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose names begin with "PART/", without that."""
    return {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{part}/")}


def load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over a state's tensors. Raises TelosError where they do not fit."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise TelosError("state", " ".join(str(error).split())[:200], "that of this recipe") from None
