"""Gradient planning: Adam on the knots of several candidates at once, projected onto the action bounds.

Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1, applied to each candidate separately.
Guardrails enter as an augmented Lagrangian on each candidate's worst margins (Hestenes 1969, Powell 1969).
N candidates, P knots, H control steps, A action size, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from planners.capabilities import Differentiable, DifferentiableProblem
from planners.params import Params
from planners.problem import Evaluation
from planners.search.knots import INTERPOLATIONS, Interpolation, Spline, bounded, spline
from planners.search.noise import coloured
from planners.search.search import Search
from planners.search.warm import WarmPlanner

TINY = 1e-12  # Adam's epsilon: a zero gradient gives a zero step
STIFFEST = 1e8  # the largest penalty: beyond it, the cost would be lost in rounding


@dataclass(frozen=True)
class GradientParams(Params):
    """Parameters of gradient planning."""

    candidates: int = 4  # N: the best candidate so far, and N - 1 with noise around it
    iterations: int = 100  # of a round, at most; a new round begins with new noise
    step: float = 0.1  # Adam's step size alpha at the beginning of a round; actions are in [-1,1]
    last_step: float = 0.02  # step size at the end of a round, as a share of `step`; cosine schedule
    momentum: float = 0.9  # Adam's beta_1
    memory: float = 0.95  # Adam's beta_2; smaller than usual, because rounds are short
    beta: float = 1.0  # noise colour, power 1/f^beta along time; 0 is white
    std: float = 0.5  # of the noise
    knots: int | None = None  # P, at most one per control step; None: one per control step
    interpolation: Interpolation = "linear"  # between knots
    penalty: float = 1.0  # initial penalty, cost per squared scaled violation
    growth: float = 4.0  # factor of a candidate's penalty if it violates a guardrail when its multipliers are updated
    patience: int = 10  # iterations between updates of the multipliers, as the worst step changes from one to the next
    slack: float = 0.01  # safety distance to the guardrails, scaled

    def __post_init__(self) -> None:
        self.require("candidates", 1 <= self.candidates <= 1_000_000, "1 to 1,000,000")
        self.require("iterations", 1 <= self.iterations <= 10_000, "1 to 10,000")
        self.require("step", 0 < self.step <= 2, "0 < step <= 2")
        self.require("last_step", 0 < self.last_step <= 1, "0 < last_step <= 1")
        self.require("momentum", 0 <= self.momentum < 1, "0 <= momentum < 1")
        self.require("memory", 0 <= self.memory < 1, "0 <= memory < 1")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("knots", self.knots is None or self.knots >= 1, ">= 1, or None")
        self.require("interpolation", self.interpolation in INTERPOLATIONS, str(INTERPOLATIONS))
        self.require("penalty", 0 < self.penalty < np.inf, "0 < penalty < inf")
        self.require("growth", 1 <= self.growth < np.inf, "1 <= growth < inf")
        self.require("patience", 1 <= self.patience <= 10_000, "1 to 10,000")
        self.require("slack", 0 <= self.slack < np.inf, "0 <= slack < inf")


class Gradient(WarmPlanner[GradientParams, None]):
    """Runs rounds of Adam while the budget lasts, each from the best candidate so far and noise around it.

    Also known as first-order trajectory optimisation, backpropagation through the dynamics, or single shooting.
    """

    Params = GradientParams
    needs = Differentiable
    lqr_tolerance = 1e-3

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: None) -> None:
        """Every iterate is evaluated together with its gradient, and recorded as a candidate."""
        p, horizon = self.params, search.problem.horizon
        curve = spline(p.interpolation, min(p.knots or horizon, horizon), horizon)
        while search.room():
            length = int(min(p.iterations, -(-search.left // p.candidates)))
            knots = self._begin(search, rng, curve)
            descent = _Descent(p, len(knots), knots.shape)
            for index in range(length):
                if not search.room():
                    return
                knots = knots[: int(min(len(knots), search.left))]
                slope = _fitted(curve, descent.slope(search, curve.expand(knots.copy())))
                knots = bounded(knots - descent.move(slope, index, length))

    def _begin(self, search: Search[Any], rng: np.random.Generator, curve: Spline) -> np.ndarray:
        """Initial knots (N,P,A) in [-1,1]: the best candidate's, and N - 1 with noise around them."""
        assert search.best is not None
        best = curve.fit(search.best.actions)
        noise = coloured(rng, self.params.beta, self.params.candidates, *best.shape)
        noise[0] = 0.0
        return bounded(best + self.params.std * noise)


def _fitted(curve: Spline, slope: np.ndarray) -> np.ndarray:
    """Convert a gradient with respect to actions (N,H,A) to one with respect to knots (N,P,A)."""
    return slope if curve.matrix is None else curve.matrix.T @ slope


class _Descent:
    """The state of one round: Adam's moments, and the multipliers and penalties of every candidate."""

    def __init__(self, params: GradientParams, number: int, shape: tuple[int, ...]) -> None:
        self.params = params
        self.mean, self.square = np.zeros(shape), np.zeros(shape)  # (N,P,A), of the gradient and its square
        self.judged = 0  # iterations evaluated
        self.multipliers: torch.Tensor | None = None  # (N,G), cost per "1 bad"
        self.penalty = torch.full((number, 1), params.penalty, dtype=torch.float64)

    def slope(self, search: Search[Any], actions: np.ndarray) -> np.ndarray:
        """Evaluate and record candidates (N,H,A), and return the gradient of their Lagrangians, (N,H,A).

        Components of the gradient that are not finite are set to 0.
        """
        variable = torch.from_numpy(actions).requires_grad_()
        evaluation = cast("DifferentiableProblem[Any]", search.problem).differentiate(variable)
        total = evaluation.step_cost.sum() + evaluation.terminal_cost.sum() + self._guarded(evaluation)
        slope = torch.autograd.grad(total, variable)[0] if total.requires_grad else torch.zeros_like(variable)
        search.record(torch.from_numpy(actions), _detached(evaluation))
        search.iterations += 1
        return torch.nan_to_num(slope, 0.0, 0.0, 0.0).numpy()

    def move(self, slope: np.ndarray, index: int, length: int) -> np.ndarray:
        """Adam's step number `index` of `length`, (N,P,A), for a gradient (N,P,A)."""
        p, number = self.params, len(slope)
        self.mean = p.momentum * self.mean[:number] + (1 - p.momentum) * slope
        self.square = p.memory * self.square[:number] + (1 - p.memory) * np.square(slope)
        mean = self.mean / (1 - p.momentum ** (index + 1))
        square = self.square / (1 - p.memory ** (index + 1))
        ease = p.last_step + (1 - p.last_step) * 0.5 * (1 + np.cos(np.pi * index / length))
        return p.step * ease * mean / (np.sqrt(square) + TINY)

    def _guarded(self, evaluation: Evaluation) -> torch.Tensor:
        """The augmented Lagrangian's penalty term, summed over candidates.

        Every `patience` iterations it also updates the multipliers and the penalties.
        """
        limits, number = evaluation.limits, len(evaluation.margin)
        excess = self.params.slack - (evaluation.margin + limits.tolerance) / limits.scale
        excess = torch.nan_to_num(excess, 0.0, 0.0, 0.0)
        if self.multipliers is None:
            self.multipliers = torch.zeros_like(excess.detach())
        multipliers, penalty = self.multipliers[:number], self.penalty[:number]
        pull = (multipliers + penalty * excess).clamp(min=0.0)
        self.judged += 1
        if self.judged % self.params.patience == 0:
            self.multipliers = pull.detach()
            violated = (excess.detach() > self.params.slack).any(1, keepdim=True)
            self.penalty = torch.where(violated, penalty * self.params.growth, penalty).clamp(max=STIFFEST)
        return (pull.square() / (2 * penalty)).sum()


def _detached(evaluation: Evaluation) -> Evaluation:
    """The evaluation without its autograd graph, which would otherwise stay in memory as long as the plan."""
    parts = {name: getattr(evaluation, name).detach() for name in ("step_cost", "terminal_cost", "margin")}
    return replace(evaluation, **parts)
