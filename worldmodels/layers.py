"""The layers that learned models and heads are made of. M members, N rows.

A layer holds the weights of M networks of equal shape and applies them in one batched product, so that an ensemble
costs one call. Inputs and outputs are (M,N,features).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ALL = slice(None)  # of the members
EVEN = math.sqrt(3)  # the gain that keeps the variance of a linear layer's inputs
HE = math.sqrt(6)  # that of a layer before a ReLU (He et al. 2015)


class Dense(nn.Module):
    """M affine maps from (M,N,inputs) to (M,N,outputs). Its weights are 0 until `initialise` draws them."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        """
        Args:
            gain: scales the initial weights, which are uniform with variance gain²/(3·inputs); 0 keeps them at 0.
        """
        super().__init__()
        self.bound = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.zeros(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor, own: slice = ALL) -> Tensor:
        """In the dtype of x, so that a network computes in bfloat16 while its weights stay float32."""
        return torch.baddbmm(self.bias[own].to(x.dtype), x, self.weight[own].to(x.dtype))


def initialise(module: nn.Module, seed: int) -> None:
    """Draw the weights of all `Dense` layers inside a module, in order, from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, Dense):
            nn.init.uniform_(layer.weight, -layer.bound, layer.bound, generator=generator)


class Norm(nn.Module):
    """Layer normalisation (Ba et al. 2016) of the last axis, with its own scale and shift for each of M members."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, size))
        self.shift = nn.Parameter(torch.zeros(members, 1, size))

    def forward(self, x: Tensor, own: slice = ALL) -> Tensor:
        return torch.addcmul(self.shift[own], nn.functional.layer_norm(x, x.shape[-1:]), self.scale[own])


class Block(nn.Module):
    """A residual block of M networks: normalise, widen, ReLU, narrow, add (SimBa; Lee et al. 2025, eq. 3)."""

    def __init__(self, members: int, width: int, widen: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.wide = Dense(members, width, widen * width, HE)
        self.narrow = Dense(members, widen * width, width, EVEN)

    def forward(self, x: Tensor) -> Tensor:
        normal = nn.functional.layer_norm(x, x.shape[-1:]) * self.scale.to(x.dtype)
        return x + self.narrow(torch.relu(self.wide(normal)))


class SimNorm(nn.Module):
    """Simplicial normalisation: a softmax within groups of features (Lavoie et al. 2022; TD-MPC2, eq. 5)."""

    def __init__(self, group: int = 8) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.group)).softmax(-1).flatten(-2)


def mlp(members: int, sizes: Sequence[int], norm: bool = True, gain: float = 1.0) -> nn.Sequential:
    """M multilayer perceptrons: affine maps between `sizes`, with layer normalisation and SiLU after all but the last.

    Args:
        sizes: inputs, hidden layers, outputs.
        norm: whether hidden layers are normalised.
        gain: of the last layer's initial weights.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        last = index == len(sizes) - 2
        layers.append(Dense(members, inputs, outputs, gain if last else 1.0))
        if not last:
            layers += [Norm(members, outputs), nn.SiLU()] if norm else [nn.SiLU()]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """M networks of residual blocks, normalised before the last layer (SimBa; Lee et al. 2025)."""

    def __init__(self, members: int, inputs: int, outputs: int, width: int, blocks: int, gain: float = 1.0) -> None:
        """
        Args:
            gain: of the last layer's initial weights.
        """
        super().__init__()
        self.first = Dense(members, inputs, width, EVEN)
        self.blocks = nn.Sequential(*(Block(members, width) for _ in range(blocks)))
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.last = Dense(members, width, outputs, EVEN * gain)

    def forward(self, x: Tensor) -> Tensor:
        """(M,N,inputs) -> (M,N,outputs), in the dtype of x."""
        found = self.blocks(self.first(x))
        return self.last(nn.functional.layer_norm(found, found.shape[-1:]) * self.scale.to(x.dtype))


def root(x: Tensor) -> Tensor:
    """The square root of x >= 0, whose slope counts as 0 where x is 0: it would be infinite there."""
    above = x > 0
    return torch.where(above, torch.where(above, x, 1.0).sqrt(), 0.0)


def through(layers: Iterable[nn.Module], x: Tensor, own: slice = ALL) -> Tensor:
    """What some of the M perceptrons that `mlp` made say of (M',N,inputs); `own` selects M' of them."""
    inplace = not torch.is_grad_enabled()
    for layer in layers:
        x = nn.functional.silu(x, inplace=inplace) if isinstance(layer, nn.SiLU) else layer(x, own)
    return x
