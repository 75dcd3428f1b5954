"""Expansions around a trajectory agree with MuJoCo's derivatives and with finite differences of the whole problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from agent.composition.expansion import STEP, LinearisableProblem
from envs.errors import TelosError
from envs.requests import Request
from envs.task import Snapshot, TaskParams
from envs.trajectory import Trajectory
from planners.capabilities import Linearisation
from tests.agent.test_branching import LAGGING, RAIL, problem
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

CARTPOLE, WALKER, CHEETAH = "dm_control/cartpole-swingup-v0", "dm_control/walker-walk-v0", "dm_control/cheetah-run-v0"
FISH, QUADRUPED = "dm_control/fish-swim-v0", "dm_control/quadruped-walk-v0"


def actions_of(made: LinearisableProblem, most: float = 0.8) -> Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.uniform(-most, most, (made.horizon, made.action_size)))


def adjoint(linear: Linearisation) -> Tensor:
    """The gradient (H,A) of the total cost from an expansion's first-order terms, by a backward sweep (adjoint)."""
    later, gradient = linear.terminal_x, []
    for t in reversed(range(len(linear.state))):
        gradient.append(linear.cost_u[t] + later @ linear.action[t])
        later = linear.cost_x[t] + later @ linear.state[t]
    return torch.stack(gradient[::-1])


def slope_of_the_whole(made: LinearisableProblem, actions: Tensor, of: Any, step: float = 1e-6) -> Tensor:
    """Central differences (H,A) of `of(evaluation)` (N,), one action at a time."""
    units = step * torch.eye(actions.numel(), dtype=torch.float64).reshape(-1, *actions.shape)
    up, down = (of(made.evaluate((actions + sign * units).contiguous())) for sign in (1, -1))
    return ((up - down) / (2 * step)).reshape(actions.shape)


def stepped(model: mujoco.MjModel, state: np.ndarray, control: np.ndarray, substeps: int) -> np.ndarray:
    """Positions, velocities and actuator states (·,) after plain MuJoCo steps."""
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    data.ctrl[:] = control
    mujoco.mj_step(model, data, nstep=substeps)
    out = np.empty(len(state))
    mujoco.mj_getState(model, data, out, mujoco.mjtState.mjSTATE_INTEGRATION)
    return out


# --- tangent space -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [CARTPOLE, WALKER, FISH, QUADRUPED])
def test_a_displacement_is_read_back(task_id: str) -> None:
    made = problem(task_id)
    model = made.model
    assert isinstance(model, Simulator)
    rng = np.random.default_rng(0)
    states = made.root().repeat(5, 1)
    by = torch.from_numpy(rng.uniform(-0.5, 0.5, (5, model.tangent_size())))
    moved = model.displace(states, by)
    torch.testing.assert_close(model.difference(states, moved), by, rtol=1e-9, atol=1e-9)
    assert torch.equal(states, made.root().repeat(5, 1)), "the states given stay as they are"
    assert torch.equal(model.displace(states, torch.zeros_like(by)), states)
    physics = model.physics.model
    assert model.tangent_size() == 2 * physics.nv + physics.na
    assert (physics.nq > physics.nv) == (task_id in (FISH, QUADRUPED)), "two of them turn in space"


def test_a_turn_is_measured_along_the_sphere() -> None:
    made = problem(QUADRUPED)
    model = made.model
    assert isinstance(model, Simulator)
    by = torch.zeros(1, model.tangent_size(), dtype=torch.float64)
    by[0, 3:6] = torch.tensor([0.3, 0.0, 0.4])  # of the free joint; half a radian
    moved = model.displace(made.root(), by)[0, 4:8]
    before = made.root()[0, 4:8]
    assert moved.norm().item() == pytest.approx(1.0)
    assert 2 * torch.arccos((moved @ before).abs()).item() == pytest.approx(0.5)


# --- dynamics ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [CHEETAH, "dm_control/ball_in_cup-catch-v0", QUADRUPED, FISH])
def test_one_substep_agrees_with_mujocos_own_derivatives(task_id: str) -> None:
    made = problem(task_id, horizon=4)
    assert isinstance(made.model, Simulator)
    one = Simulator(
        made.model.task, replace(made.model.interface, control_period=made.model.physics.timestep), threads=1
    )
    made = replace(made, model=one)
    actions = actions_of(made)
    linear, states = made.linearise(actions), made.imagine(actions[None]).states[0].numpy()
    model = one.physics.model
    size, data = one.tangent_size(), mujoco.MjData(model)
    native = one.interface.native(np.eye(made.action_size)) - one.interface.native(np.zeros(made.action_size))
    for t in range(4):
        mujoco.mj_setState(model, data, states[t], mujoco.mjtState.mjSTATE_INTEGRATION)
        data.ctrl[:] = one.interface.native(actions[t].numpy())
        a, b = np.zeros((size, size)), np.zeros((size, model.nu))
        mujoco.mjd_transitionFD(model, data, 1e-6, True, a, b, None, None)
        np.testing.assert_allclose(linear.state[t], a, atol=1e-4 * np.abs(a).max())
        np.testing.assert_allclose(linear.action[t], b @ native, atol=1e-4 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("task_id", [WALKER, FISH, QUADRUPED])
def test_substeps_are_chained(task_id: str) -> None:
    made = problem(task_id, horizon=5)
    model = made.model
    assert isinstance(model, Simulator)
    assert model.physics.substeps > 1
    actions = actions_of(made)
    linear, states = made.linearise(actions), made.imagine(actions[None]).states[0]
    size, step = model.tangent_size(), 1e-6
    whole = torch.cat([linear.state, linear.action], 2)
    for t in (0, 4):
        for column in range(0, size + made.action_size, 3):
            by = torch.zeros(1, size + made.action_size, dtype=torch.float64)
            by[0, column] = step
            ends = []
            for sign in (1, -1):
                begin = model.displace(states[t : t + 1], sign * by[:, :size].contiguous())[0].numpy()
                control = model.interface.native((actions[t] + sign * by[0, size:]).numpy())
                ends.append(
                    torch.from_numpy(stepped(model.physics.model, begin, control, model.physics.substeps))[None]
                )
            slope = model.difference(ends[1], ends[0])[0] / (2 * step)
            torch.testing.assert_close(whole[t, :, column], slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max()))


def test_at_a_bound_the_action_is_displaced_inwards() -> None:
    made = problem(CARTPOLE, horizon=4)
    inside, on = torch.full((4, 1), 1.0 - 2 * STEP).double(), torch.ones(4, 1).double()
    for sign in (1, -1):
        near, at = made.linearise(sign * inside), made.linearise(sign * on)
        torch.testing.assert_close(at.action, near.action, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(at.cost_u, near.cost_u, rtol=1e-3, atol=1e-5)


def test_an_edge_that_diverges_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    made = problem(CARTPOLE, horizon=3, rules=(RAIL,))
    actions = actions_of(made)
    whole = made.linearise(actions)
    exact = made.model.branch  # pyright: ignore[reportAttributeAccessIssue]

    def broken(start: Any, states: Tensor, taken: Tensor) -> Trajectory:
        path = exact(start, states, taken)
        path.states[1, 1] = torch.nan  # the first state, displaced upwards in its first direction
        path.valid[1] = False
        return path

    monkeypatch.setattr(made.model, "branch", broken)
    linear = made.linearise(actions)
    assert linear.state.isfinite().all()
    assert not linear.state[0, :, 0].any()
    assert not linear.margin_x[0, :, 0].any()
    assert linear.cost_x[0, 0] == 0
    assert not linear.cost_xx[0, 0].any()
    torch.testing.assert_close(linear.state[1:], whole.state[1:])
    torch.testing.assert_close(linear.state[0, :, 1:], whole.state[0, :, 1:])


# --- costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [CARTPOLE, WALKER, CHEETAH, QUADRUPED, FISH])
def test_the_gradient_is_that_of_the_whole_cost(task_id: str) -> None:
    made = problem(task_id, horizon=8, effort=0.01)
    actions = actions_of(made)
    linear = made.linearise(actions)
    known = slope_of_the_whole(made, actions, lambda judged: judged.cost)
    assert (adjoint(linear) - known).norm() <= 1e-3 * known.norm()
    top, bottom = torch.cat([linear.cost_xx, linear.cost_ux.mT], 2), torch.cat([linear.cost_ux, linear.cost_uu], 2)
    hessian = torch.cat([top, bottom], 1)
    torch.testing.assert_close(hessian, hessian.mT)
    assert torch.linalg.eigvalsh(hessian).min() >= -1e-9 * hessian.abs().max()


def test_what_comes_after_the_end_has_no_slope() -> None:
    """Hopper-v5 ends after 30 steps because it leans too far; later edges belong to a finished episode."""
    made = problem("Hopper-v5", horizon=40, effort=0.1)
    actions = torch.full((40, 3), 0.3, dtype=torch.float64)
    known = slope_of_the_whole(made, actions, lambda judged: judged.cost)
    last = int(known.any(1).nonzero().max())
    assert 10 < last < 38, "it ends on the way"
    linear = made.linearise(actions)
    assert (adjoint(linear) - known).norm() <= 1e-3 * known.norm()
    assert not linear.cost_xx[last + 1 :].any()


def test_what_bends_the_cost_is_seen() -> None:
    """Near upright the reward is linear in the pole's height, so its curvature in the angle is that of the height."""
    made = problem(CARTPOLE, horizon=2)
    state = np.zeros_like(made.start.simulated.state)
    state[2] = 0.01  # rad
    made = replace(made, start=Belief.at(Snapshot(state, made.start.params)))
    linear = made.linearise(torch.zeros(2, 1, dtype=torch.float64))
    assert linear.cost_xx[0, 1, 1].item() == pytest.approx(0.5, rel=0.05)  # -(1 + cos x)/2; the other factors are 1
    assert linear.cost_x[0, 1].item() == pytest.approx(0.005, rel=0.05)


def test_a_cost_of_steps_is_flat() -> None:
    linear = problem("dm_control/cartpole-swingup_sparse-v0").linearise(torch.zeros(6, 1, dtype=torch.float64))
    assert not linear.cost_x.any()
    assert not linear.cost_xx.any()
    assert linear.state.any()


class Tail:
    """A critic that reads a signal and the state row at the last state."""

    requests = (Request("body_velocity/cart", "state"),)

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        speed = trajectory.signals.after("body_velocity/cart")[:, -1, 0]
        return 3.0 * (speed - 1.0).square() + 2.0 * trajectory.states[:, -1, 2].square()


class Opaque(Tail):
    """The same critic, computed outside autograd."""

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.from_numpy(super().terminal_cost(trajectory, params).detach().numpy().copy())


@pytest.mark.parametrize("critic", [Tail(), Opaque()])
def test_a_critic_counts_at_the_end(critic: Tail) -> None:
    made = problem(CARTPOLE, horizon=6)
    assert isinstance(made.model, Simulator)
    model = Simulator(made.model.task, made.model.interface, critic.requests, threads=1)
    made = replace(made, model=model, objective=replace(made.objective, critic=critic))
    actions = actions_of(made)
    linear = made.linearise(actions)
    known = slope_of_the_whole(made, actions, lambda judged: judged.cost)
    assert (adjoint(linear) - known).norm() <= 1e-5 * known.norm()
    path = made.imagine(actions[None])
    speed = path.signals.after("body_velocity/cart")[0, -1, 0].item()
    slope = [0.0, 4.0 * path.states[0, -1, 2].item(), 6.0 * (speed - 1.0), 0.0]
    torch.testing.assert_close(linear.terminal_x, torch.tensor(slope).double(), rtol=1e-4, atol=1e-4)
    if not isinstance(critic, Opaque):
        bend = torch.diag(torch.tensor([0.0, 4.0, 6.0, 0.0]).double())
        torch.testing.assert_close(linear.terminal_xx, bend, rtol=1e-3, atol=1e-3)
    assert not problem(CARTPOLE).linearise(actions).terminal_x.any()


def test_a_cost_that_looks_back_is_refused() -> None:
    made = problem(CARTPOLE, action_rate=0.1)
    with pytest.raises(TelosError, match="action_rate"):
        made.linearise(actions_of(made))


def test_signals_that_lag_are_refused() -> None:
    made = problem(LAGGING[0])
    with pytest.raises(TelosError, match="lags one physics step"):
        made.linearise(actions_of(made))


# --- guardrails, feedback, honesty -------------------------------------------------------------------------


def test_margins_are_those_of_every_step() -> None:
    made = problem(CARTPOLE, horizon=12, rules=(RAIL,))
    actions = actions_of(made)
    linear = made.linearise(actions)
    path = made.imagine(actions[None])
    torch.testing.assert_close(linear.margin, made.judge.margins(path)[0], rtol=1e-12, atol=1e-12)
    assert linear.limits is made.limits
    worst = int(linear.margin[:, 0].argmin())
    later, slope = linear.margin_x[worst, 0], torch.zeros(12, 1, dtype=torch.float64)
    slope[worst] = linear.margin_u[worst, 0]
    for t in reversed(range(worst)):
        slope[t] = later @ linear.action[t]
        later = later @ linear.state[t]
    known = slope_of_the_whole(made, actions, lambda judged: judged.margin[:, 0])
    torch.testing.assert_close(slope, known, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("task_id", [CARTPOLE, QUADRUPED])
def test_feedback_follows_the_law(task_id: str) -> None:
    made = problem(task_id, horizon=10)
    model = made.model
    assert isinstance(model, Simulator)
    nominal = actions_of(made)
    rng = np.random.default_rng(2)
    offsets = torch.from_numpy(0.3 * rng.standard_normal((3, *nominal.shape)))
    offsets[0] = 0.0
    gains = torch.from_numpy(0.5 * rng.standard_normal((*nominal.shape, model.tangent_size())))
    tracked = made.track(nominal, offsets, gains)
    torch.testing.assert_close(tracked[0], nominal)
    assert tracked.abs().max() <= 1
    along, paths = made.imagine(nominal[None]).states[0], made.imagine(tracked).states
    for t in range(10):
        away = model.difference(along[t].repeat(3, 1), paths[:, t])
        expected = (nominal[t] + offsets[:, t] + away @ gains[t].T).clamp(-1, 1)
        torch.testing.assert_close(tracked[:, t], expected, rtol=1e-7, atol=1e-7)
    assert (tracked[1:] != (nominal + offsets[1:]).clamp(-1, 1)).any(), "the test needs feedback to do something"


@pytest.mark.parametrize("task_id", [CARTPOLE, WALKER])
def test_what_is_spent_is_said(task_id: str) -> None:
    made = problem(task_id, horizon=7)
    assert isinstance(made.model, Simulator)
    before = made.model.spent
    made.linearise(actions_of(made))
    assert made.model.spent.since(before).steps == made.expansion_steps() * made.model.physics.substeps


def test_many_edges_are_simulated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = problem(CARTPOLE, rules=(RAIL,))
    actions = actions_of(made)
    whole = made.linearise(actions)
    monkeypatch.setattr("agent.composition.expansion.CHUNK", 13)
    parts = made.linearise(actions)
    for name in ("state", "action", "cost_x", "cost_uu", "margin_x"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
