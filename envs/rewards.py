"""Batched shaping functions for rewards."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Sigmoid = Literal["gaussian", "hyperbolic", "long_tail", "reciprocal", "cosine", "linear", "quadratic", "tanh_squared"]


def _sigmoid(x: Tensor, margin: float | Tensor, value: float, sigmoid: Sigmoid) -> Tensor:
    """A sigmoid of x >= 0 that is 1 at x = 0 and `value` at x = margin; folding the margin in saves a division."""
    if sigmoid == "gaussian":
        return torch.exp(x.square() * (math.log(value) / margin**2))
    if sigmoid == "hyperbolic":
        return 1 / torch.cosh(x * (math.acosh(1 / value) / margin))
    if sigmoid == "long_tail":
        return 1 / (x.square() * ((1 / value - 1) / margin**2) + 1)
    if sigmoid == "reciprocal":
        return 1 / (x * ((1 / value - 1) / margin) + 1)
    if sigmoid == "cosine":
        angle = x * (math.acos(2 * value - 1) / margin)
        return torch.where(angle < math.pi, (1 + torch.cos(angle)) / 2, 0.0)
    if sigmoid == "linear":
        return (1 - x * ((1 - value) / margin)).clamp(min=0)
    if sigmoid == "quadratic":
        return (1 - x.square() * ((1 - value) / margin**2)).clamp(min=0)
    if sigmoid == "tanh_squared":
        return 1 - torch.tanh(x * (math.atanh(math.sqrt(1 - value)) / margin)).square()
    raise ValueError(f"sigmoid: {sigmoid!r} given")


def tolerance(
    x: Tensor,
    lower: float | Tensor = 0.0,
    upper: float | Tensor = 0.0,
    margin: float | Tensor = 0.0,
    sigmoid: Sigmoid = "gaussian",
    value_at_margin: float = 0.1,
) -> Tensor:
    """1 where `lower <= x <= upper`, falling to `value_at_margin` at `margin` outside.

    Same function as `dm_control.utils.rewards.tolerance` (Tassa et al. 2018, section 3), batched;
    bounds and margin are in the unit of `x`; `margin` = 0 is a step. Shape of the result: that of x.
    """
    distance = _outside(x, lower, upper)
    if isinstance(margin, (int, float)) and margin == 0:
        return (distance == 0).to(x.dtype)
    return _sigmoid(distance, margin, value_at_margin, sigmoid)  # every sigmoid is exactly 1 at distance 0


def _outside(x: Tensor, lower: float | Tensor, upper: float | Tensor) -> Tensor:
    """Distance of `x` outside its bounds, >= 0; infinite bounds and equal bounds take fewer operations."""
    if isinstance(lower, (int, float)) and lower == upper:
        return (x - lower).abs() if lower else x.abs()
    if isinstance(upper, (int, float)) and upper == math.inf:
        return (lower - x).clamp(min=0.0)
    if isinstance(lower, (int, float)) and lower == -math.inf:
        return (x - upper).clamp(min=0.0)
    return torch.clamp(torch.maximum(lower - x, x - upper), min=0.0)
