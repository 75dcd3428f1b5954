"""Perception from observations alone: an iterated extended Kalman filter over the simulator's state.

It works in MuJoCo's tangent space x ⊖ y = (dq, dv, act), T = 2 nv + na. The nominal model predicts. The correction
(Gauss-Newton) evaluates the task's own observation function on a private twin of the environment. Unobservable parts of
the state keep the values of the twin's resets (the cheetah's root x, mocap bodies, time). Targets and sizes are not
estimated: they belong to the task's instruction, which comes with the percept.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import mujoco
import numpy as np

from envs.errors import Diverged
from envs.percept import Percept, flatten
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.task import Interface, Snapshot, Task, TaskParams
from worldmodels.belief import Belief

_STARTS = 4  # twin resets from which the first belief is fitted
_SEED = 0x7E105  # of those resets
_FIRST_ITERATIONS = 30  # Gauss-Newton iterations of the first belief
_HALVINGS = 8  # trials of a Gauss-Newton step, each half as long as the last, until one decreases the cost
_WIDE = 1.0  # standard deviation that stands for "unknown", tangent space
_BOUND = 10.0  # the largest standard deviation, tangent space
_SURPRISE = 9.0  # misfit, in units of its expected value, above which the prediction is trusted less
_EPSILON = 1e-6  # of finite differences
_CALIBRATION = 20  # random steps that measure how far the state fails to determine each observation


@dataclass(frozen=True)
class _Fit:
    """A state estimate with its covariance and misfit."""

    state: np.ndarray  # (S,), integration state
    covariance: np.ndarray  # (T,T)
    misfit: float  # mean over the observations; 1 is expected where prior and noise are as believed


class StateEstimator:
    """Estimates the simulator state from observations; never reads the percept's snapshot."""

    privileged = False
    gives_state = True

    def __init__(
        self,
        task: Task,
        interface: Interface,
        observation_noise: float = 1e-3,
        process_noise: float = 1e-3,
        iterations: int = 3,
        threads: int | None = None,
    ) -> None:
        """
        Args:
            task: makes the private twin and the nominal model.
            interface: how actions reach the simulator.
            observation_noise: believed standard deviation, in each observation's own unit.
            process_noise: believed standard deviation per control step, tangent space.
            iterations: Gauss-Newton iterations per update.
            threads: C threads; all CPUs of this process where None.
        """
        self._task = task
        self._interface = interface
        self._iterations = iterations
        self._physics = BatchPhysics(task.spec, (), interface.control_period, threads=threads)
        self._twin = task.backend()
        model = self._twin.model
        self._q = slice(1, 1 + model.nq)
        self._v = slice(self._q.stop, self._q.stop + model.nv)
        self._a = slice(self._v.stop, self._v.stop + model.na)
        self._size = 2 * model.nv + model.na
        self._noise = process_noise**2 * np.eye(self._size)
        names = (request.name for request in task.requests)
        self._stale = tuple(sorted({n.split("/", 1)[1] for n in names if n.startswith(("raw/", "post_constraint/"))}))
        self._params = TaskParams()
        self._starts = [self._reset_state(int(s)) for s in np.random.SeedSequence(_SEED).generate_state(_STARTS) >> 1]
        # Observations that the state does not determine (forces, lagging positions) get less weight.
        self._weight = 1 / (observation_noise**2 + self._lag() ** 2)
        self._belief = _Fit(self._starts[0], self._wide(), 0.0)

    def reset(self, percept: Percept) -> Belief:
        """The best of several fits to the first observation, each started from another reset of the twin."""
        self._instruct(percept.params)
        observed = flatten(percept.observation)
        fits = [self._fit(start, self._wide(), observed, _FIRST_ITERATIONS) for start in self._starts]
        self._belief = min(fits, key=lambda fit: fit.misfit)
        self._place(self._belief.state)
        return self._believe(observed)

    def update(self, percept: Percept, action: np.ndarray) -> Belief:
        """Predict with the nominal model, correct with the observation."""
        observed = flatten(percept.observation)
        before = self._belief.state
        state, covariance = self._predict(action)
        fit = self._fit(state, covariance, observed, self._iterations)
        if fit.misfit > _SURPRISE:  # the model's error exceeds its covariance: trust it only in unobserved directions
            fit = self._fit(state, covariance + self._wide(), observed, self._iterations)
        self._belief = fit
        if self._stale:  # the environment reads these values late: simulate the step that left them behind
            self._place(before)
            self._twin.data.ctrl[:] = self._interface.native(action)
            mujoco.mj_step(self._twin.model, self._twin.data, nstep=self._physics.substeps)
        return self._believe(observed)

    def _believe(self, observed: np.ndarray) -> Belief:
        """The belief; values that the environment reads late are taken from the twin's present data."""
        stale = {}
        if self._stale:
            mujoco.mj_rnePostConstraint(self._twin.model, self._twin.data)
            stale = {name: np.array(getattr(self._twin.data, name)) for name in self._stale}
        params = TaskParams(self._params.model, self._params.attributes, MappingProxyType(stale))
        state = self._belief.state.copy()
        state.flags.writeable = False
        return Belief(Snapshot(state, params), observed, params)

    def _instruct(self, params: TaskParams | None) -> None:
        """Apply the instruction: targets and sizes, as the user set them."""
        if params is None:
            if self._task.params or self._task.attributes:
                wanted = ", ".join((*self._task.params, *self._task.attributes))
                raise ValueError(f"perception 'estimated': no instruction given, allowed: TaskParams with {wanted}")
            params = TaskParams()
        self._params = params
        self._physics.set_params(params)
        for name, value in params.model.items():
            getattr(self._twin.model, name)[...] = value

    # --- predict and correct -------------------------------------------------------------------------

    def _predict(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance after one control step of the nominal model.

        Central differences are as wide as the belief itself (√3 standard deviations, with the second-order term;
        Nørgaard, Poulsen and Ravn 2000). A local derivative would not be valid over that width, because of contacts.
        """
        last = self._belief
        variance, axes = np.linalg.eigh(last.covariance)
        spread = (axes * np.sqrt(3.0 * np.maximum(variance, 0.0))).T
        starts = np.repeat(last.state[None], 1 + 2 * self._size, 0)
        for i, column in enumerate((*spread, *-spread)):
            starts[1 + i] = self._plus(last.state, column)
        native = self._interface.native(np.asarray(action, dtype=np.float64))
        recording = self._physics.rollout(starts, np.broadcast_to(native, (len(starts), 1, len(native))))
        if not bool(recording.valid.all()):  # the prediction diverged: restart from the last state
            return last.state, self._wide()
        ends = recording.final.copy()
        away = np.stack([self._minus(end, ends[0]) for end in ends[1:]])
        up, down = away[: self._size], away[self._size :]
        first, second = (up - down) / np.sqrt(12.0), (up + down) / np.sqrt(18.0)
        return ends[0], self._bounded(first.T @ first + second.T @ second + self._noise)

    def _fit(self, prior: np.ndarray, covariance: np.ndarray, observed: np.ndarray, iterations: int) -> _Fit:
        """Gauss-Newton on ½|x ⊖ prior|² + ½|h(x) − observed|², each term weighted by its inverse covariance."""
        information = np.linalg.inv(covariance)
        weight = self._weight

        def cost(state: np.ndarray, seen: np.ndarray) -> float:
            away, error = self._minus(state, prior), seen - observed
            return float(0.5 * away @ information @ away + 0.5 * error @ (weight * error))

        state, seen = prior, self._observe(prior)
        value = cost(state, seen)
        curvature = information
        for _ in range(iterations):
            jacobian = self._jacobian(state, seen)
            gradient = information @ self._minus(state, prior) + jacobian.T @ (weight * (seen - observed))
            curvature = information + (jacobian.T * weight) @ jacobian
            step = -np.linalg.solve(curvature, gradient)
            if not -gradient @ step > 1e-6:  # the expected decrease is negligible against the noise
                break
            for halving in range(_HALVINGS):
                trial = self._plus(state, step / 2**halving)
                trial_seen = self._observe(trial)
                trial_value = cost(trial, trial_seen)
                if trial_value < value:
                    break
            else:
                break
            state, seen, value = trial, trial_seen, trial_value
        posterior = np.linalg.inv(curvature)
        return _Fit(state, (posterior + posterior.T) / 2, 2 * value / len(observed))

    def _jacobian(self, state: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The Jacobian of the observation with respect to the state's tangent, (F,T)."""
        columns = [
            (self._observe(self._plus(state, _EPSILON * direction)) - seen) / _EPSILON
            for direction in np.eye(self._size)
        ]
        return np.stack(columns, 1)

    def _wide(self) -> np.ndarray:
        return _WIDE**2 * np.eye(self._size)

    def _bounded(self, covariance: np.ndarray) -> np.ndarray:
        """The covariance, shrunk to `_BOUND`, because it would grow without limit in unobserved directions."""
        shrink = np.minimum(1.0, _BOUND / np.sqrt(np.diag(covariance)))
        return shrink[:, None] * covariance * shrink

    # --- tangent space -------------------------------------------------------------------------------

    def _plus(self, state: np.ndarray, tangent: np.ndarray) -> np.ndarray:
        """state ⊕ tangent (T,)."""
        model, out = self._twin.model, state.copy()
        q = out[self._q].copy()
        mujoco.mj_integratePos(model, q, tangent[: model.nv], 1.0)
        out[self._q] = q
        out[self._v] += tangent[model.nv : 2 * model.nv]
        out[self._a] += tangent[2 * model.nv :]
        return out

    def _minus(self, state: np.ndarray, other: np.ndarray) -> np.ndarray:
        """state ⊖ other, (T,)."""
        positions = np.empty(self._twin.model.nv)
        mujoco.mj_differentiatePos(self._twin.model, positions, 1.0, other[self._q], state[self._q])
        return np.concatenate([positions, state[self._v] - other[self._v], state[self._a] - other[self._a]])

    # --- the twin ------------------------------------------------------------------------------------

    def _place(self, state: np.ndarray) -> None:
        mujoco.mj_setState(self._twin.model, self._twin.data, state, INTEGRATION)
        mujoco.mj_forward(self._twin.model, self._twin.data)

    def _observe(self, state: np.ndarray) -> np.ndarray:
        """The observation that the environment would return at `state`, (F,)."""
        self._place(state)
        return flatten(self._twin.observe())

    def _state(self) -> np.ndarray:
        state = np.empty(self._physics.state_size)
        mujoco.mj_getState(self._twin.model, self._twin.data, state, INTEGRATION)
        return state

    def _reset_state(self, seed: int) -> np.ndarray:
        self._twin.reset(seed)
        state = self._state()
        q = state[self._q].copy()
        mujoco.mj_normalizeQuat(self._twin.model, q)  # Gymnasium's resets add noise to quaternions
        state[self._q] = q
        return state

    def _lag(self) -> np.ndarray:
        """The largest difference between each observation and its value computed from the present state, (F,)."""
        rng = np.random.default_rng(_SEED)
        seen, states = [], []
        for _ in range(_CALIBRATION):
            action = rng.uniform(-1.0, 1.0, self._interface.action_size)
            try:
                observation, _, terminated = self._twin.step(self._interface.native(action))
            except Diverged:
                break
            seen.append(flatten(observation))
            states.append(self._state())
            if terminated:
                break
        still = self._observe(self._starts[0])  # another state first, so that no data is left from the last step
        if not seen:  # not even one step can be simulated
            return np.zeros(len(still))
        told = np.stack([self._observe(state) for state in states])
        return np.abs(np.stack(seen) - told).max(0)
