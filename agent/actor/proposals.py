"""Candidates of the learned policy, rolled out closed-loop in the world model.

P proposals, H control steps, A action size, S state size of the model, D latent size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agent.actor.policy import GaussianPolicy
from worldmodels.belief import Belief
from worldmodels.model import Branching, WorldModel


class LearnedProposals:
    """The policy's own sequence, and sequences that it draws; it implements `agent.actor.actor.Policy`.

    The draws are the same in every decision.
    """

    def __init__(
        self,
        policy: GaussianPolicy,
        model: WorldModel,
        read: Callable[[Tensor], Tensor],
        hold: int,
        number: int,
        seed: int = 0,
    ) -> None:
        """
        Args:
            model: a `Branching` one.
            read: the model's states (P,S) -> latents (P,D).
            hold: control steps of a decision.
            number: P; the first one is the likeliest sequence.
        """
        assert isinstance(model, Branching)
        self._policy, self._model, self._read = policy, model, read
        self._hold, self._number, self._seed = hold, number, seed

    def propose(self, belief: Belief, horizon: int) -> np.ndarray:
        """(P,H,A) in [-1,1]."""
        decisions = -(-horizon // self._hold)
        rng = np.random.default_rng(self._seed)
        size = (decisions, self._number, self._policy.action_size)
        noise = torch.from_numpy(rng.standard_normal(size, np.float32))
        noise[:, 0] = 0
        states, chosen = self._model.root(belief).expand(self._number, -1), []
        with torch.inference_mode():
            for index in range(decisions):
                action = self._policy.sample(self._read(states), noise[index])[0]
                held = action[:, None].expand(-1, self._hold, -1)
                chosen.append(held)
                if index < decisions - 1:
                    states = self._model.branch(belief, states, held.double()).states[:, -1]
        return torch.cat(chosen, 1)[:, :horizon].double().numpy()
