"""iLQR (iterative linear-quadratic regulator): solves a linear-quadratic problem around the trajectory, and repeats.

Tassa, Erez & Todorov, IROS 2012 (Gauss-Newton DDP, regularisation schedule and line search); control limits as in
Tassa, Mansard & Todorov, ICRA 2014. Guardrails enter as an augmented Lagrangian on the margin of every step (Howell,
Jackson & Manchester, "ALTRO", IROS 2019, section III).
H control steps, A action size, D tangent size, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from planners.capabilities import Linearisable, LinearisableProblem, Linearisation
from planners.descent.lagrangian import Lagrangian
from planners.descent.riccati import Feedback, backward
from planners.params import Params
from planners.problem import Batch
from planners.search.knots import bounded
from planners.search.noise import coloured
from planners.search.search import Search
from planners.search.select import first
from planners.search.warm import WarmPlanner

IDLE = 3  # a descent ends after this many rounds without an accepted step, even if its multipliers still grow


@dataclass(frozen=True)
class IlqrParams(Params):
    """Parameters of iLQR. Expansions and line searches count too: H control steps are one evaluation."""

    samples: int = 8  # with coloured noise around the best candidate, before every descent; they escape saddle points
    beta: float = 1.0  # noise colour, power 1/f^beta along time; 0 is white
    std: float = 0.5  # of the noise; actions are in [-1,1]
    descents: int = 3  # at most; the first from the best of all candidates, the others from the best of new samples
    steps: int = 8  # step lengths of the line search, all tried in one batch
    shortest: float = 0.01  # the last of these step lengths; the first is 1
    damping: float = 1e-3  # initial regularisation mu, on actions (Levenberg-Marquardt)
    least_damping: float = 1e-6  # minimum of mu
    most_damping: float = 1e6  # a descent counts as converged when mu exceeds this
    damping_factor: float = 2.0  # Delta_0 of the schedule
    converged: float = 1e-6  # a descent has converged when a step decreases the merit by less, relative to the merit
    penalty: float = 1.0  # initial rho, cost per squared scaled violation
    growth: float = 10.0  # factor of rho after a round that left a violation
    rounds: int = 4  # the multipliers are updated after this many accepted steps at the latest
    slack: float = 0.01  # safety distance to the guardrails, scaled

    def __post_init__(self) -> None:
        self.require("samples", 0 <= self.samples <= 1_000_000, "0 to 1,000,000")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("descents", 1 <= self.descents <= 1_000, "1 to 1,000")
        self.require("steps", 1 <= self.steps <= 1_000, "1 to 1,000")
        self.require("shortest", 0 < self.shortest <= 1, "0 < shortest <= 1")
        self.require("least_damping", 0 < self.least_damping < np.inf, "0 < least_damping < inf")
        self.require("damping", self.least_damping <= self.damping < np.inf, "least_damping <= damping < inf")
        self.require("most_damping", self.damping <= self.most_damping < np.inf, "damping <= most_damping < inf")
        self.require("damping_factor", 1 < self.damping_factor < np.inf, "1 < damping_factor < inf")
        self.require("converged", 0 <= self.converged < 1, "0 <= converged < 1")
        self.require("penalty", 0 < self.penalty < np.inf, "0 < penalty < inf")
        self.require("growth", 1 <= self.growth < np.inf, "1 <= growth < inf")
        self.require("rounds", 1 <= self.rounds <= 1_000, "1 to 1,000")
        self.require("slack", 0 <= self.slack < np.inf, "0 <= slack < inf")


class Ilqr(WarmPlanner[IlqrParams, None]):
    """Runs iLQR from the best reference, then from random candidates; control-limited, and with guardrails.

    Also known as Gauss-Newton DDP (differential dynamic programming with first-order dynamics).
    """

    Params = IlqrParams
    needs = Linearisable
    lqr_tolerance = 1e-3

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: None) -> None:
        """Run descents, each from the best of some samples; spend the remaining evaluations on samples."""
        p = self.params
        self._sample(search, rng, p.samples)
        assert search.best is not None
        problem = cast("LinearisableProblem[Any]", search.problem)
        point = _point(search.best.batch, search.best.index)
        took = 0.0
        for _ in range(p.descents):
            if not point.sound or not search.room(self.minimum(problem)) or search.over(took):
                break
            took = _Descent(p, search, point).run()
            point = self._sample(search, rng, p.samples) or _point(search.best.batch, search.best.index)
        if np.isfinite(search.left):
            self._sample(search, rng, int(search.left))

    def minimum(self, problem: LinearisableProblem[Any]) -> int:
        """The number of evaluations that one step of a descent needs, without references and samples."""
        return _price(problem) + _line_search(self.params)

    def _sample(self, search: Search[Any], rng: np.random.Generator, count: int) -> _Point | None:
        """The best of `count` new samples around the best candidate, or of as many as the budget allows.

        None if there are none.
        """
        assert search.best is not None
        count = int(min(count, search.left))
        if count == 0 or search.late:
            return None
        noise = coloured(rng, self.params.beta, count, search.problem.horizon, search.problem.action_size)
        candidates = torch.from_numpy(bounded(search.best.actions + self.params.std * noise))
        evaluation = search.problem.evaluate(candidates)
        best = first(search.record(candidates, evaluation))
        return _point(Batch(search.iterations, candidates, evaluation), best)


def _price(problem: LinearisableProblem[Any]) -> int:
    """The number of evaluations that one expansion counts as."""
    return -(-problem.expansion_steps() // problem.horizon)


def _line_search(params: IlqrParams) -> int:
    """The number of evaluations that one line search counts as.

    `track` simulates every step length and the nominal trajectory; `evaluate` then simulates every step length again.
    """
    return 2 * params.steps + 1


@dataclass(frozen=True, eq=False)
class _Point:
    """The current trajectory of a descent."""

    actions: np.ndarray  # (H,A)
    cost: float
    margin: torch.Tensor  # (G,), worst over time

    @property
    def sound(self) -> bool:
        return bool(np.isfinite(self.cost))


def _point(batch: Batch, index: int) -> _Point:
    evaluation = batch.evaluation
    return _Point(batch.actions[index].numpy(), float(evaluation.judged[1][index]), evaluation.margin[index].detach())


class _Descent:
    """Descends from one trajectory to a local minimum of the augmented Lagrangian, while the budget lasts."""

    def __init__(self, params: IlqrParams, search: Search[Any], point: _Point) -> None:
        self.params, self.search, self.point = params, search, point
        self.problem = cast("LinearisableProblem[Any]", search.problem)
        self.lengths = np.geomspace(1.0, params.shortest, params.steps)
        self.damping, self.change = params.damping, 1.0  # mu and Delta of the regularisation schedule
        self.expanding = self.stepping = 0.0  # s, duration of the last expansion and of the last line search
        self.linear = self._expanded()
        multipliers = np.zeros((search.problem.horizon, len(point.margin)))
        self.lagrangian = Lagrangian(multipliers, params.penalty, params.slack, self.linear.limits)

    def run(self) -> float:
        """Descend, and return the duration of the last whole step (expansion and line search), s."""
        accepted, idle = 0, 0
        while self._room() and idle < IDLE:
            before = self._merit()
            step = self._step(before)
            if step is None:  # try again with more damping, up to its limit
                settled = self.damping > self.params.most_damping
                if not settled:
                    continue
            else:
                settled = bool(np.isfinite(before)) and before - self._merit(step) <= self._least(before)
                accepted, self.point = accepted + 1, step
            if not self._room(_price(self.problem), self.expanding):
                break
            if step is not None:
                self.linear = self._expanded()
            if settled or accepted >= self.params.rounds:
                if not self._tightened() and settled:
                    break
                accepted, idle = 0, 0 if accepted else idle + 1
        return self.expanding + self.stepping

    def _room(self, price: int = 0, seconds: float = 0.0) -> bool:
        """Whether the budget allows a line search after `price` more evaluations and `seconds` more seconds."""
        enough = self.search.room(price + _line_search(self.params))
        return enough and not self.search.over(seconds + self.stepping)

    def _step(self, before: float) -> _Point | None:
        """The best point of a line search, or None if no point has a lower merit than `before`.

        A success decreases the damping, a failure increases it.
        """
        feedback = self._feedback()
        if feedback is None or feedback.decrease <= 0.0:
            self.damping = np.inf
            return None
        batch = self._followed(feedback)
        merit = self.lagrangian.merit(batch.evaluation.judged[1], batch.evaluation.margin)
        best = int(np.argmin(merit))
        if merit[best] < before:
            self.change = min(1.0 / self.params.damping_factor, self.change / self.params.damping_factor)
            self.damping = max(self.damping * self.change, self.params.least_damping)
            return _point(batch, best)
        self.change = max(self.params.damping_factor, self.change * self.params.damping_factor)
        self.damping *= self.change
        return None

    def _expanded(self) -> Linearisation:
        begun = self.search.seconds
        linear = self.problem.linearise(torch.from_numpy(self.point.actions))
        self.search.spend(self.problem.expansion_steps())
        self.expanding = self.search.seconds - begun
        return linear

    def _feedback(self) -> Feedback | None:
        """The result of the backward pass; None if the expansion has values that are not finite."""
        actions = self.point.actions
        try:
            return backward(self.lagrangian.augmented(self.linear), -1.0 - actions, 1.0 - actions, self.damping)
        except np.linalg.LinAlgError:
            return None

    def _followed(self, feedback: Feedback) -> Batch:
        """Roll out every step length with feedback, and evaluate the resulting candidates."""
        search, actions = self.search, torch.from_numpy(self.point.actions)
        begun = search.seconds
        offsets = torch.from_numpy(self.lengths[:, None, None] * feedback.offsets)
        candidates = self.problem.track(actions, offsets, torch.from_numpy(feedback.gains))
        search.spend((len(candidates) + 1) * len(actions))
        batch = Batch(search.iterations, candidates, self.problem.evaluate(candidates))
        search.record(batch.actions, batch.evaluation)
        search.iterations += 1
        self.stepping = search.seconds - begun
        return batch

    def _tightened(self) -> bool:
        """Update the multipliers and the penalty, and reset the damping; return whether any of them changed."""
        old, new = self.lagrangian, self.lagrangian.updated(self.linear.margin, self.params.growth)
        self.lagrangian, self.damping, self.change = new, self.params.damping, 1.0
        return new.penalty != old.penalty or not np.allclose(new.multipliers, old.multipliers, rtol=1e-3, atol=1e-9)

    def _merit(self, point: _Point | None = None) -> float:
        point = self.point if point is None else point
        return float(self.lagrangian.merit(np.array([point.cost]), point.margin[None])[0])

    def _least(self, merit: float) -> float:
        return self.params.converged * abs(merit)
