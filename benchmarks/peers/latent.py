"""The latent world that telos and pytorch-mppi plan in: a small network with random weights, and a quadratic cost.

This file imports neither of them, so that both can run the same code. B states, S latent size, A action size.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

LATENT, ACTION, HIDDEN = 32, 6, 256
EFFORT = 0.1  # weight of squared actions in the cost


class Network:
    """x' = x + MLP(x, u), two hidden layers with tanh, float32; random weights with LeCun initialisation."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = (LATENT + ACTION, HIDDEN, HIDDEN, LATENT)
        self.weights = [
            torch.from_numpy((rng.standard_normal((a, b)) / np.sqrt(a)).astype(np.float32)) for a, b in pairwise(sizes)
        ]
        self.biases = [torch.zeros(b) for b in sizes[1:]]
        self.start = torch.from_numpy(rng.standard_normal(LATENT).astype(np.float32))

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B,S), (B,A) -> (B,S)"""
        hidden = torch.cat([states, actions], 1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = torch.tanh(torch.addmm(bias, hidden, weight))
        return states + torch.addmm(self.biases[-1], hidden, self.weights[-1])

    @staticmethod
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        """Cost of a step from the state that it leads to and its action, (B,S), (B,A) -> (B,)."""
        return states.square().sum(1) + EFFORT * actions.square().sum(1)
