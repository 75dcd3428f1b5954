"""A small learned world model: features in, latents in float32, a reward head, probe signals, two members, and a z.

It is fitted by least squares to random steps of `dm_control/point_mass-easy-v0`, whose real motion is nearly linear.
N candidates, H control steps, L latent size, F = 4 features (positions and velocities), A = 2 actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.environment import Environment
from envs.requests import Request
from envs.task import TaskParams, at_states
from envs.trajectory import Signals, Trajectory
from worldmodels.belief import Belief
from worldmodels.model import Source, Spent

L, F, A = 6, 4, 2
PROBED = ("joint_position/root_x", "joint_position/root_y")


@dataclass(frozen=True, eq=False)
class Weights:
    """One member: features after a step are `state` f + `action` a; z adds `spread`."""

    state: Tensor  # (F,F)
    action: Tensor  # (F,A)
    spread: Tensor  # (F,)


def fitted(env: Environment, seed: int, gain: float = 1.0, steps: int = 300) -> Weights:
    """The least-squares fit to random steps.

    The fit is nearly exact, so members would agree and z would do nothing: `gain` scales the effect of actions, and z
    pushes the velocities.
    """
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    before, actions, after = [], [], []
    for _ in range(steps):
        before.append(features(observation))
        actions.append(rng.uniform(-1, 1, A))
        observation, *_ = env.step(actions[-1])
        after.append(features(observation))
    inputs, outputs = np.concatenate([np.array(before), np.array(actions)], 1), np.array(after)
    solution = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    parts = (solution[:F].T, gain * solution[F:].T, np.array([0.0, 0.0, 2e-3, 2e-3]))
    return Weights(*(torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts))


def features(observation: Any) -> np.ndarray:
    """(F,), positions and velocities."""
    return np.concatenate([observation["position"], observation["velocity"]])


class Latent:
    """One future: a member's weights, and a value of z."""

    stride, dt, action_size = 1, 0.02, A
    starts_from: Source = "observation"

    def __init__(self, weights: Weights, z: float = 0.0, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        self.device = device
        self.weights = Weights(*(part.to(device) for part in vars(weights).values()))
        self.encoder = torch.linalg.qr(torch.randn(L, F, generator=generator)).Q.to(
            device
        )  # its inverse is its transpose
        self.z = z
        self.signals = frozenset(at_states(*PROBED))
        self.spent = Spent()

    # --- what every world model does ------------------------------------------------------------------------

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        with torch.no_grad():
            return self.differentiate(start, actions)

    # --- Branching, Differentiable ----------------------------------------------------------------------------

    def resumable(self) -> bool:
        return True

    def root(self, start: Belief) -> Tensor:
        newest = torch.from_numpy(np.asarray(start.features[-F:], dtype=np.float32)).to(self.device)
        return (self.encoder @ newest)[None]

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        latent, path = self._own(states), []
        moves = self._own(actions)
        path.append(latent)
        for t in range(actions.shape[1]):
            seen = latent @ self.encoder
            after = seen @ self.weights.state.T + moves[:, t] @ self.weights.action.T + self.z * self.weights.spread
            latent = after @ self.encoder.T
            path.append(latent)
        whole = torch.stack(path, 1)
        self.spent = Spent(self.spent.steps + actions.shape[0] * actions.shape[1])
        probed = whole @ self.encoder
        signals = Signals({name: probed[..., index : index + 1] for index, name in enumerate(PROBED)})
        valid = torch.ones(len(actions), dtype=torch.bool, device=self.device)
        return Trajectory(whole, actions, signals, valid, torch.zeros(actions.shape[:2], device=self.device), self.dt)

    def differentiate(self, start: Belief, actions: Tensor) -> Trajectory:
        return self.branch(start, self.root(start).expand(len(actions), -1), actions)

    # --- Displaceable, Comparable --------------------------------------------------------------------------------

    def tangent_size(self) -> int:
        return L

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        return self._own(states) + self._own(by)

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        return self._own(states) - self._own(origin)

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        seen = self._own(states) @ self.encoder
        return torch.cat([seen[..., :2], seen[..., 2:] * seconds], -1)

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, torch.float32)


class LatentEnsemble(Latent):
    """Two members, each under draws of z in {-1, 1}; as a plain model it is the first member with z = 0."""

    draws = 2

    def __init__(self, weights: Sequence[Weights], device: str = "cpu") -> None:
        super().__init__(weights[0], device=device)
        self.all = tuple(weights)

    def members(self, seed: int) -> list[Latent]:
        drawn = np.random.default_rng(seed).choice([-1.0, 1.0], self.draws)
        return [Latent(weights, float(z), self.device) for weights in self.all for z in drawn]

    def futures(self, start: Belief, actions: Tensor, seed: int, states: bool = False) -> Iterator[Trajectory]:
        for member in self.members(seed):
            yield member.imagine(start, actions, states)

    def disagreement(self, futures: Sequence[Trajectory]) -> Tensor:
        """Between the members, at equal z."""
        states = torch.stack([future.states[:, 1:] for future in futures])
        each = states.unflatten(0, (len(self.all), self.draws))
        return each.var(0, unbiased=False).mean((0, -1)).sqrt()


@dataclass(frozen=True, eq=False)
class RewardHead:
    """Minus a predicted reward: how near the origin the decoded position is. It reads latents and no signal."""

    encoder: Tensor  # (L,F)
    requests: tuple[Request, ...] = ()
    reads_states: bool = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        seen = trajectory.states[:, 1:] @ self.encoder
        return 100.0 * seen[..., :2].square().sum(-1) + 0.1 * seen[..., 2:].square().sum(-1)


def halved(weights: Weights) -> Weights:
    """The same with half the effect of actions, as another member."""
    return replace(weights, action=weights.action / 2)
