"""Learning a critic and a policy from rewards: soft actor-critic over the world model's latents.

A transition spans one decision: K control steps with the same action. B transitions, D latent size, A action size,
M critics. Sources: SAC (Haarnoja et al. 2018), residual blocks and rates as in SimBa (Lee et al. 2025).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agent.actor.policy import GaussianPolicy, PolicyParams
from agent.cost.critic import CriticParams, Critics
from agent.cost.reward import RewardHead
from agent.learning import optimisers
from agent.learning.learner import inside, load
from agent.learning.recipe import ActorCriticConfig
from agent.memory.ring import Ring, Windows
from envs.errors import TelosError
from worldmodels.layers import initialise

FIRST_TEMPERATURE = 0.01  # of the entropy, in units of the reward's range


class Heads(nn.Module):
    """Reward, critic, policy, what the critic is trained towards, and the log of the entropy's temperature."""

    def __init__(self, latent: int, action_size: int, critic: CriticParams, policy: PolicyParams) -> None:
        super().__init__()
        self.reward = RewardHead(latent, action_size, policy.width)
        self.critics = Critics(latent, action_size, critic)
        self.slow = Critics(latent, action_size, critic).requires_grad_(False)
        self.policy = GaussianPolicy(latent, action_size, policy)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(FIRST_TEMPERATURE)))


class ActorCritic:
    """The learner of `Heads`. All randomness of an update derives from the seed and the update's number."""

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        latent: int,
        action_size: int,
        settings: ActorCriticConfig,
        timing: tuple[int, float],
        terminates: bool,
        seed: int,
    ) -> None:
        """
        Args:
            encode: observations (B,F) -> latents (B,D); it is not trained here.
            timing: K, and the discount per decision.
            terminates: whether the task ends some episodes early.
        """
        self.settings, self.seed = settings, seed
        self.hold, self.discount = timing
        self.terminates = terminates
        self.updates_per_frame = settings.updates_per_frame
        self.heads = Heads(latent, action_size, settings.critic, settings.policy)
        initialise(self.heads, seed)
        self.heads.slow.load_state_dict(self.heads.critics.state_dict())
        self._encode = encode
        self._dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        heads, rate = self.heads, settings.rate
        self._optimisers = {
            "reward": torch.optim.AdamW(heads.reward.parameters(), rate, weight_decay=settings.decay, fused=True),
            "critics": torch.optim.AdamW(heads.critics.parameters(), rate, weight_decay=settings.decay, fused=True),
            "policy": torch.optim.AdamW(heads.policy.parameters(), rate, weight_decay=settings.decay, fused=True),
            "temperature": torch.optim.Adam([heads.log_temperature], rate, betas=(0.5, 0.999)),
        }

    def ready(self, ring: Ring) -> bool:
        """Whether there is experience to learn from."""
        return len(ring.starts(self.hold, self.hold)) > 0

    def update(self, ring: Ring, number: int) -> dict[str, float]:
        """Update number `number` of the run; the losses by name.

        Raises:
            TelosError: a loss is not finite; the weights of that part stay as they were.
        """
        draws = np.random.default_rng([self.seed, number])
        windows = ring.sample(draws, self.settings.batch, self.hold, every=self.hold)
        noise = torch.from_numpy(draws.standard_normal((2, len(windows.actions), ring.action_size), np.float32))
        latents, after = self._latents(windows)
        rewards = self.rewards(windows)
        terms = {"reward": self._improve_reward(windows, rewards, int(draws.integers(self.hold)))}
        terms |= {"critic": self._improve_critics(latents, after, windows, rewards.mean(1), noise[0])}
        terms |= self._improve_policy(latents, noise[1])
        wrong = next((name for name, value in terms.items() if not math.isfinite(value)), None)
        if wrong is not None:
            allowed = "a finite number: try a lower actor_critic.rate"
            raise TelosError(f"actor_critic.{wrong}", f"{terms[wrong]} in update {number}", allowed)
        return terms

    def rewards(self, windows: Windows) -> Tensor:
        """The reward of each control step (B,K), in units of the reward's range: 0 to 1.

        Steps after a termination earn 0, or what is nearest to it in the range. Raises TelosError for a reward outside.
        """
        low, high = self.settings.reward_range
        found = (windows.rewards - low) / (high - low)
        if not bool(((found > -1e-3) & (found < 1 + 1e-3) | (windows.inside == 0)).all()):
            least, most = float(windows.rewards.min()), float(windows.rewards.max())
            allowed = f"actor_critic.reward_range that holds all rewards; it is [{low:g}, {high:g}]"
            raise TelosError("a reward", f"between {least:g} and {most:g}", allowed)
        return found.clamp(0, 1)

    def _latents(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Before and after each decision, (B,D)."""
        with torch.no_grad():
            ends = self._encode(windows.observations[:, [0, -1]])
        return ends[:, 0], ends[:, 1]

    def _improve_reward(self, windows: Windows, rewards: Tensor, step: int) -> float:
        """Regression of the reward of one control step of each decision, and of whether it ended the episode."""
        with torch.no_grad():
            latents = self._encode(windows.observations[:, step + 1])
        reward, odds = self.heads.reward(latents, windows.actions[:, step])
        missed = (reward - rewards[:, step]).square()
        ended = windows.terminated[:, : step + 1].any(1).float()
        missed = missed + nn.functional.binary_cross_entropy_with_logits(odds, ended, reduction="none")
        inside = windows.inside[:, step]
        loss = (missed * inside).sum() / inside.sum().clamp(min=1)
        self._step("reward", loss)
        return float(loss.detach())

    def _improve_critics(
        self, latents: Tensor, after: Tensor, windows: Windows, earned: Tensor, noise: Tensor
    ) -> float:
        """A step towards what the decisions earned (B,) and the slow critics' values of what follows."""
        heads, discount = self.heads, self.discount
        with torch.no_grad():
            actions, density = heads.policy.sample(after, noise, self._dtype)
            values = heads.slow.values(heads.slow(after, actions, self._dtype)).amin(0)
            soft = values - (1 - discount) * heads.log_temperature.exp() * density
            low, high = self.settings.reward_range
            nothing = min(max(-low / (high - low), 0.0), 1.0)  # the value of earning 0 for ever
            then = torch.where(windows.terminated.any(1), nothing, soft)
            wanted = ((1 - discount) * earned + discount * then).clamp(0, 1)
            held = _held(windows)
        loss = heads.critics.loss(heads.critics(latents, windows.actions[:, 0], self._dtype), wanted, held)
        self._step("critics", loss)
        with torch.no_grad():
            for slow, now in zip(heads.slow.parameters(), heads.critics.parameters(), strict=True):
                slow.lerp_(now, self.settings.target_rate)
        return float(loss.detach())

    def _improve_policy(self, latents: Tensor, noise: Tensor) -> dict[str, float]:
        heads, unit = self.heads, 1 - self.discount
        temperature = heads.log_temperature.exp()
        actions, density = heads.policy.sample(latents, noise, self._dtype)
        heads.critics.requires_grad_(False)
        values = heads.critics.values(heads.critics(latents, actions, self._dtype)).mean(0)
        heads.critics.requires_grad_(True)
        loss = (temperature.detach() * density - values / unit).mean()
        self._step("policy", loss)
        wanted = -self.settings.entropy * actions.shape[1]
        self._step("temperature", -temperature * (density.detach().mean() + wanted))
        return {
            "value": float(values.detach().mean()),
            "policy": float(loss.detach()),
            "entropy": -float(density.detach().mean()),
        }

    def state(self) -> dict[str, Tensor]:
        """The tensors of heads and optimisers, from which `restore` continues bit for bit."""
        found = {f"heads/{name}": value for name, value in self.heads.state_dict().items()}
        for part, optimiser in self._optimisers.items():
            found |= {f"{part}/{key}": value for key, value in optimisers.tensors_of(optimiser).items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises TelosError where it does not fit."""
        load(self.heads, inside(tensors, "heads"))
        for part, optimiser in self._optimisers.items():
            optimisers.restore(optimiser, inside(tensors, part))

    def parts(self) -> tuple[dict[str, Any], dict[str, nn.Module]]:
        """The heads as parts of a checkpoint: how they are rebuilt, and the modules that tensors come from."""
        heads, settings = self.heads, self.settings
        sizes = {"latent": heads.policy.latent, "action_size": heads.policy.action_size}
        value = {"reward_range": list(settings.reward_range), "discount": self.discount, "doubt": settings.doubt}
        value |= {"hold": self.hold, "proposals": settings.proposals}
        about = {
            "critic": {**sizes, **value, "params": heads.critics.params.model_dump()},
            "policy": {**sizes, "params": heads.policy.params.model_dump()},
            "reward": {**sizes, "terminates": self.terminates, "width": heads.reward.width},
        }
        return about, {"critic": heads.critics, "policy": heads.policy, "reward": heads.reward}

    def _step(self, part: str, loss: Tensor) -> None:
        """A step of the optimiser, unless the loss is not finite."""
        if not torch.isfinite(loss):
            return
        optimiser = self._optimisers[part]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def _held(windows: Windows) -> Tensor:
    """1 where all executed actions of a decision are the same, else 0, (B,): a gate may have changed one."""
    same = (windows.actions == windows.actions[:, :1]).all(-1) | (windows.inside == 0)
    return same.all(1).float()
