"""Gradient-based planners reach known optima, keep bounds and guardrails, and tolerate bad gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, lsq_linear, minimize
from torch import Tensor

from planners import registry
from planners.capabilities import Linearisation
from planners.descent.riccati import box
from planners.ilqr import Ilqr, IlqrParams
from planners.problem import Budget, Evaluation, Limits, Plan

STEP = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
STATE_COST = torch.tensor([1.0, 0.1], dtype=torch.float64)
FINAL_COST = torch.tensor([10.0, 1.0], dtype=torch.float64)
ACTION_COST = 0.05

both = pytest.mark.parametrize("name", ["gradient", "ilqr"])


def honest(cost: Tensor, actions: Tensor) -> Tensor:
    return cost


@dataclass
class Glider:
    """A double integrator with one or two inputs, to be brought to rest, with a guardrail x_0 <= ceiling."""

    start: tuple[float, float] = (0.16, 0.08)
    pushes: int = 1
    ceiling: float | None = None
    horizon: int = 20
    dt: float = 0.1
    spoil: Callable[[Tensor, Tensor], Tensor] = honest

    @property
    def action_size(self) -> int:
        return self.pushes

    @property
    def push(self) -> Tensor:
        """Input matrix (2,A): the second input is weaker on the speed, and moves the position directly."""
        return torch.tensor([[0.005, 0.02], [0.1, 0.03]], dtype=torch.float64)[:, : self.pushes]

    @property
    def limits(self) -> Limits:
        if self.ceiling is None:
            return Limits.none()
        return Limits(torch.full((1,), 1e-3, dtype=torch.float64), torch.full((1,), 0.1, dtype=torch.float64))

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        return {"fallback": torch.zeros(self.horizon, self.pushes, dtype=torch.float64)}

    def path(self, u: Tensor) -> Tensor:
        """States (N,H+1,2) under actions (N,H,A)."""
        x = [torch.tensor(self.start, dtype=torch.float64).expand(len(u), 2)]
        for t in range(self.horizon):
            x.append(x[-1] @ STEP.T + u[:, t] @ self.push.T)
        return torch.stack(x, 1)

    def evaluate(self, actions: Tensor) -> Evaluation:
        assert actions.abs().max() <= 1
        x = self.path(actions)
        cost = x[:, :-1].square() @ STATE_COST + ACTION_COST * actions.square().sum(2)
        margin = x.new_zeros(len(x), 0) if self.ceiling is None else (self.ceiling - x[:, 1:, 0]).amin(1)[:, None]
        valid = torch.ones(len(x), dtype=torch.bool)
        return Evaluation(self.spoil(cost, actions), x[:, -1].square() @ FINAL_COST, margin, valid, self.limits)

    differentiate = evaluate

    def imagine(self, actions: Tensor) -> None:
        raise NotImplementedError

    def linearise(self, actions: Tensor) -> Linearisation:
        h, size = actions.shape
        x = self.path(actions[None])[0]
        guards = len(self.limits.scale)
        slope = torch.tensor([[-1.0, -0.1]], dtype=torch.float64).expand(guards, 2)  # of the position after the step
        margin = x.new_zeros(h, 0) if self.ceiling is None else (self.ceiling - x[1:, :1])
        return Linearisation(
            state=STEP.expand(h, 2, 2),
            action=self.push.expand(h, 2, size),
            cost_x=2 * x[:-1] * STATE_COST,
            cost_u=2 * ACTION_COST * actions,
            cost_xx=torch.diag(2 * STATE_COST).expand(h, 2, 2),
            cost_uu=(2 * ACTION_COST * torch.eye(size, dtype=torch.float64)).expand(h, size, size),
            cost_ux=torch.zeros(h, size, 2, dtype=torch.float64),
            terminal_x=2 * x[-1] * FINAL_COST,
            terminal_xx=torch.diag(2 * FINAL_COST),
            margin=margin,
            margin_x=slope.expand(h, guards, 2),
            margin_u=-self.push[:1].expand(h, guards, size),
            limits=self.limits,
        )

    def expandable(self) -> bool:
        return True

    def expansion_steps(self) -> int:
        return 7 * self.horizon

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        along = self.path(nominal[None])[0]
        x = along[:1].expand(len(offsets), 2)
        actions = torch.empty_like(offsets)
        for t in range(self.horizon):
            actions[:, t] = (nominal[t] + offsets[:, t] + (x - along[t]) @ gains[t].T).clamp(-1, 1)
            x = x @ STEP.T + actions[:, t] @ self.push.T
        return actions

    def least_squares(self) -> tuple[np.ndarray, np.ndarray]:
        """M and b of the cost |M u - b|^2 with u (H*A,), by superposition."""
        weights = torch.cat([STATE_COST.expand(self.horizon, 2), FINAL_COST[None]]).sqrt()
        units = torch.eye(self.horizon * self.pushes, dtype=torch.float64).reshape(-1, self.horizon, self.pushes)
        free = self.path(torch.zeros_like(units[:1]))
        columns = ((self.path(units) - free) * weights).flatten(1).T
        effort = ACTION_COST**0.5 * units.flatten(1)
        target = torch.cat([-(free * weights).flatten(), torch.zeros(len(effort), dtype=torch.float64)])
        return torch.cat([columns, effort]).numpy(), target.numpy()


@dataclass
class TimedGlider(Glider):
    """Keeps the time `now` as if each candidate took 1 ms and everything else took no time."""

    now: float = 0.0  # s

    def evaluate(self, actions: Tensor) -> Evaluation:
        self.now += 1e-3 * len(actions)
        return super().evaluate(actions)

    def linearise(self, actions: Tensor) -> Linearisation:
        self.now += 1e-3 * self.expansion_steps() / self.horizon
        return super().linearise(actions)

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        self.now += 1e-3 * (len(offsets) + 1)
        return super().track(nominal, offsets, gains)


def planned(name: str, problem: Glider, evaluations: int = 1000, plans: int = 1, **params: Any) -> Plan[Any]:
    planner = registry.make(name, **params)
    state = planner.start(0)
    for _ in range(plans):
        plan, state = planner.plan(state, problem, Budget(evaluations=evaluations))
        assert plan.statistics.evaluations <= evaluations
    return plan


# --- known optima ----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("pushes", [1, 2])
def test_the_optimum_inside_the_bounds_is_reached(name: str, pushes: int) -> None:
    problem = Glider(pushes=pushes)
    matrix, target = problem.least_squares()
    best = np.linalg.lstsq(matrix, target, rcond=None)[0]
    assert np.abs(best).max() < 0.95, "bounds must not be active"
    optimum = float(np.square(matrix @ best - target).sum())
    assert optimum * (1 - 1e-9) <= planned(name, problem).cost <= optimum * (1 + 1e-3)


def test_a_linear_problem_takes_ilqr_one_step() -> None:
    problem = Glider(start=(0.03, 0.02), pushes=2)  # so near that no single step's offset reaches a bound
    matrix, target = problem.least_squares()
    best = np.linalg.lstsq(matrix, target, rcond=None)[0]
    plan = planned("ilqr", problem, 30, samples=0, damping=1e-9, least_damping=1e-9)
    np.testing.assert_allclose(plan.actions.flatten(), best, atol=1e-6)


@both
@pytest.mark.parametrize("pushes", [1, 2])
def test_the_optimum_on_the_bounds_is_reached(name: str, pushes: int) -> None:
    problem = Glider(start=(1.5, 1.0), pushes=pushes)
    matrix, target = problem.least_squares()
    solved = lsq_linear(matrix, target, (-1, 1), tol=1e-12)
    assert (np.abs(solved.x) > 1 - 1e-6).sum() >= 5, "bounds must be active"
    optimum = 2 * float(solved.cost)
    plan = planned(name, problem)
    assert plan.actions.abs().max() <= 1
    assert optimum * (1 - 1e-9) <= plan.cost <= optimum * (1 + 1e-3)


@pytest.mark.parametrize("size", [1, 2, 5, 21])
def test_the_box_problem_is_solved(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        root = rng.standard_normal((size, size))
        hessian, gradient = root @ root.T + 0.01 * np.eye(size), 3 * rng.standard_normal(size)
        low, high = -rng.uniform(0, 1, size), rng.uniform(0, 1, size)
        low[0] = 0.0  # already at its limit
        u, free = box(hessian, gradient, low, high, np.zeros(size))
        slope = gradient + hessian @ u
        assert ((u >= low) & (u <= high)).all()
        assert (slope[u == low] >= -1e-5).all()
        assert (slope[u == high] <= 1e-5).all()
        inside = (u > low) & (u < high)
        assert np.abs(slope[inside]).max(initial=0) < 1e-5
        assert free[inside].all()


# --- guardrails ------------------------------------------------------------------------------------------------


@both
def test_a_guardrail_in_the_way_is_held(name: str) -> None:
    free, ceiling = Glider(start=(-0.3, 0.0)), -0.05
    highest = free.path(planned(name, free).actions[None])[0, 1:, 0].max()
    assert highest > ceiling + 0.02, "the test needs a temptation"
    problem = replace(free, ceiling=ceiling)
    matrix, target = problem.least_squares()
    units = torch.eye(problem.horizon, dtype=torch.float64)[..., None]
    base = problem.path(torch.zeros_like(units[:1]))
    moved = (problem.path(units) - base)[:, 1:, 0].T.numpy()
    known = minimize(
        lambda u: np.square(matrix @ u - target).sum(),
        np.zeros(problem.horizon),
        jac=lambda u: 2 * matrix.T @ (matrix @ u - target),
        bounds=[(-1, 1)] * problem.horizon,
        constraints=[LinearConstraint(moved, -np.inf, ceiling + 1e-3 - base[0, 1:, 0].numpy())],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert known.success
    plan = planned(name, problem)
    assert plan.feasible
    assert plan.margin.item() >= -1e-3
    assert known.fun * (1 - 1e-6) <= plan.cost <= known.fun * 1.02


@both
def test_a_guardrail_that_cannot_be_held_is_violated_least(name: str) -> None:
    """The glider is above the ceiling and rises; only pushing down helps."""
    problem = Glider(start=(0.5, 0.3), ceiling=0.2)
    hardest = problem.evaluate(-torch.ones(1, 20, 1, dtype=torch.float64)).margin.item()
    plan = planned(name, problem, plans=3)
    assert not plan.feasible
    assert plan.margin.item() >= hardest - 5e-3


# --- gradients that do not help --------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf")])
def test_a_useless_gradient_does_no_harm(factor: float) -> None:
    """Values are right, but their gradients are useless."""

    class Useless(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *slopes: Tensor) -> Tensor:
            return slopes[0] * factor

    problem = Glider(spoil=lambda cost, u: Useless.apply(cost))
    fallback = problem.evaluate(problem.proposals["fallback"][None]).cost.item()
    plan = planned("gradient", problem, 100)
    assert plan.feasible
    assert plan.cost <= fallback
    assert plan.actions.isfinite().all()


def test_a_cost_without_any_gradient_is_sampled() -> None:
    problem = Glider(spoil=lambda cost, u: cost.detach())
    object.__setattr__(problem, "differentiate", lambda u: problem.evaluate(u.detach()))
    fallback = problem.evaluate(problem.proposals["fallback"][None]).cost.item()
    assert planned("gradient", problem, 100).cost < fallback


def test_one_candidate_that_breaks_leaves_the_others_their_gradients() -> None:
    def broken(cost: Tensor, u: Tensor) -> Tensor:
        return cost * torch.where(u.amax((1, 2)) > 0.9, torch.nan, 1.0)[:, None]

    problem = Glider(spoil=broken)
    matrix, target = problem.least_squares()
    optimum = np.square(matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0] - target).sum()
    plan = planned("gradient", problem, std=1.0)
    assert bool(plan.population is not None and plan.population.cost.isinf().any()), "the test needs one that breaks"
    assert plan.cost <= optimum * (1 + 1e-3)


@pytest.mark.parametrize("part", ["state", "action", "cost_x", "margin_x"])
def test_an_expansion_that_is_not_finite_ends_the_descent(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Glider(ceiling=1.0)
    exact = problem.linearise

    def spoiled(actions: Tensor) -> Linearisation:
        linear = exact(actions)
        return replace(linear, **{part: torch.full_like(getattr(linear, part), torch.nan)})

    monkeypatch.setattr(problem, "linearise", spoiled)
    plan = planned("ilqr", problem, 400)
    assert plan.feasible
    assert plan.cost <= problem.evaluate(problem.proposals["fallback"][None]).cost.item()


# --- the budget ------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("evaluations", [1, 2, 9, 24, 40, 173, 400])
def test_the_budget_holds_and_is_used(name: str, evaluations: int) -> None:
    planner = registry.make(name)
    state = planner.start(0)
    for _ in range(3):
        plan, state = planner.plan(state, Glider(), Budget(evaluations=evaluations))
        assert 0.9 * evaluations <= plan.statistics.evaluations <= evaluations


@pytest.mark.parametrize("seconds", np.arange(0.04, 0.15, 0.007))
def test_ilqr_ends_as_near_to_its_seconds_as_whole_steps_can(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a descent takes 24 ms here, of which the expansion takes 7."""
    problem = TimedGlider(start=(0.16, 0.1), ceiling=0.165)  # multipliers keep it busy
    monkeypatch.setattr("planners.search.search.perf_counter", lambda: problem.now)
    plan, _ = Ilqr(IlqrParams(samples=0, descents=2)).plan(Ilqr().start(0), problem, Budget(seconds=seconds))
    assert abs(plan.statistics.seconds - seconds) <= 0.024 / 2 + 1e-9


def test_ilqr_knows_what_an_expansion_costs() -> None:
    """If the budget is too small for an expansion and a line search, iLQR tries only samples."""
    planner = Ilqr(IlqrParams(samples=0, steps=4, damping=1e-9, least_damping=1e-9))
    problem = Glider(start=(0.03, 0.02))  # so near that one step reaches the optimum
    sampled, _ = planner.plan(planner.start(0), problem, Budget(evaluations=1 + 7 + 9 - 1))
    descended, _ = planner.plan(planner.start(0), problem, Budget(evaluations=1 + 7 + 9))
    optimum = planned("ilqr", problem).cost
    assert sampled.cost > 1.01 * optimum
    assert descended.cost == pytest.approx(optimum, rel=1e-6)


def test_knots_are_differentiated_through() -> None:
    exact = planned("gradient", Glider()).cost
    for kind in ("zero", "linear", "cubic"):
        plan = planned("gradient", Glider(), knots=6, interpolation=kind)
        assert exact * (1 - 1e-3) <= plan.cost <= exact * 1.1
