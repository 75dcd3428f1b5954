"""Batched MuJoCo: many futures of one model on C threads, read as aligned signals.

`Batch.rollout` returns one record per substep, whose derived fields describe the state *before* that substep. So a
position or velocity sensor at state t is read from the record of the next substep, and the terminal state needs a
forward pass of its own. A force belongs to the substep in which it acts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from envs.errors import Diverged, TelosError
from envs.flags import check_flags
from envs.physics import signals
from envs.physics.compiler import compiled, shrink_textures
from envs.physics.contact_wrench import ContactWrench
from envs.physics.variants import Variant
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Signals, nothing

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
VELOCITY_STAGE = int(mujoco.mjtStage.mjSTAGE_VEL)
MAX_SUBSTEPS = 10_000  # physics steps per control step
MAX_POOLS = 32  # the most shapes (N,H) whose batches are kept
_DIVERGED = (  # warnings after which the simulation no longer follows the model
    mujoco.mjtWarning.mjWARN_INERTIA,
    mujoco.mjtWarning.mjWARN_CONTACTFULL,
    mujoco.mjtWarning.mjWARN_CNSTRFULL,
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
    mujoco.mjtWarning.mjWARN_BADCTRL,
)


@dataclass(frozen=True)
class PhysicsOptions:
    """Numerics of a planning model that differ from the real model's; None keeps the model's own."""

    timestep: float | None = None  # s; must divide the control period
    integrator: Literal["Euler", "RK4", "implicit", "implicitfast"] | None = None
    solver: Literal["PGS", "CG", "Newton"] | None = None
    iterations: int | None = None  # constraint solver iterations
    noslip_iterations: int | None = None  # iterations of the noslip solver; 0 for none
    disable_contacts: bool = False

    def apply(self, model: mujoco.MjModel) -> None:
        """Write the options into a compiled model."""
        if self.timestep is not None:
            model.opt.timestep = self.timestep
        if self.integrator is not None:
            model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{self.integrator.upper()}")
        if self.solver is not None:
            model.opt.solver = getattr(mujoco.mjtSolver, f"mjSOL_{self.solver.upper()}")
        if self.iterations is not None:
            model.opt.iterations = self.iterations
        if self.noslip_iterations is not None:
            model.opt.noslip_iterations = self.noslip_iterations
        if self.disable_contacts:
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT


def columns(model: mujoco.MjModel, part: mujoco.mjtState) -> slice:
    """The columns of one part of an integration state, whose parts are in the order of their bits."""
    begin = mujoco.mj_stateSize(model, INTEGRATION & (int(part) - 1))
    return slice(begin, begin + mujoco.mj_stateSize(model, int(part)))


def _compiled(spec: Callable[[], mujoco.MjSpec], requests: tuple[Request, ...]) -> mujoco.MjModel:
    """The model with the sensors of the requests, and without unread sensors where it compiles without them."""
    blueprint = spec()
    shrink_textures(blueprint)
    read = signals.add_sensors(blueprint, requests).values()
    if any(signals.KINDS[signals.parse(request.name)[0]].source == "raw" for request in requests):
        return compiled(blueprint)
    signals.drop_unread(blueprint, read)
    try:
        return compiled(blueprint)
    except (ValueError, mujoco.FatalError):  # an element, such as a tuple, refers to a dropped sensor
        blueprint = spec()
        shrink_textures(blueprint)
        signals.add_sensors(blueprint, requests)
        return compiled(blueprint)


def divergence(data: mujoco.MjData) -> str:
    """Names of the warnings of divergence since the counters were zero; "" where there was none.

    MuJoCo resets a diverged simulation to its default pose, and drops contacts for which it lacks memory; in both cases
    it only warns. A batch stops at the same warnings.
    """
    return ", ".join(kind.name for kind in _DIVERGED if data.warning[int(kind)].number)


def divergence_after(model: mujoco.MjModel, data: mujoco.MjData) -> str:
    """`divergence`, including the state after the last physics step.

    MuJoCo checks a state only when the next step begins, and an episode may end before that.
    """
    mujoco.mj_checkPos(model, data)
    mujoco.mj_checkVel(model, data)
    return divergence(data)


def diverged_world(reason: str) -> Diverged:
    """The error to raise where the real environment diverges, because later states and rewards are meaningless."""
    allowed = "a world that can be simulated: a smaller timestep of the model, or see variant"
    return Diverged("environment", f"a diverged simulation ({reason})", allowed)


@dataclass(frozen=True)
class Recording:
    """The result of a rollout of N futures over H control steps."""

    signals: Signals
    states: Tensor  # (N,H+1,S), mjSTATE_INTEGRATION; (N,H+1,0) where not requested
    final: np.ndarray  # (N,S), the integration state at the end, valid until the next rollout
    valid: Tensor  # (N,) bool, False where the simulation diverged or MuJoCo raised


@dataclass
class _Pool:
    """A `Batch` of N simulations with the buffers that its rollouts reuse."""

    batch: mujoco.batch.Batch
    control: np.ndarray  # (N,H*K,nu)
    out: dict[Any, np.ndarray]
    again: ContactWrench | None  # recomputes the last substep of every control step


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


class BatchPhysics:
    """Rolls out N control sequences from one state and reads the requested signals.

    Not thread-safe, and not to be shared between processes: each instance owns its thread pool.
    """

    def __init__(
        self,
        spec: Callable[[], mujoco.MjSpec],
        requests: Iterable[Request],
        control_period: float,
        options: PhysicsOptions | None = None,
        threads: int | None = None,
        variant: Variant | None = None,
    ) -> None:
        """
        Args:
            spec: makes a fresh spec of the model.
            requests: signals to read.
            control_period: s per control step.
            options: numerics that differ from the model's own.
            threads: C threads; all CPUs of this process where None.
            variant: how the model differs from the nominal one; TaskParams hold nominal values.

        Raises:
            TelosError: a signal that the model lacks, or a time step that does not divide the
                control period.
        """
        requests = tuple(dict.fromkeys(requests))
        self.model = _compiled(spec, requests)
        check_flags("model", self.model)
        self.variant = variant or Variant()
        self.variant.apply(self.model)
        (options or PhysicsOptions()).apply(self.model)
        ratio = control_period / self.model.opt.timestep
        self.substeps = round(ratio)
        if not 1 <= self.substeps <= MAX_SUBSTEPS or abs(ratio - self.substeps) > 1e-6:
            raise TelosError(
                where="physics.timestep",
                given=f"{self.model.opt.timestep} s",
                allowed=f"1 to {MAX_SUBSTEPS} whole steps in the control period, {control_period} s",
            )
        self.timestep = float(self.model.opt.timestep)  # s
        self.threads = threads or cpus()
        self.readings = signals.layout(self.model, requests)
        self.state_size = mujoco.mj_stateSize(self.model, INTEGRATION)
        self.params = TaskParams()
        self.seconds = 0.0  # wall clock spent inside MuJoCo's C code so far
        self.steps = 0  # physics steps simulated so far
        self.diverged = 0  # control sequences whose simulation diverged so far
        sources = {reading.source for reading in self.readings}
        self._sensors = bool(sources & {"sensor", "power"})
        self._fields = tuple({r.field: None for r in self.readings if r.source == "raw"})
        self._again = "post_constraint" in sources
        self._states = bool(sources & {"state", "post_constraint"})
        self._aligned = any(r.source == "sensor" for r in self.readings)
        # Read one physics step late, as the environment does: they cannot be computed from a state.
        self.lagging = tuple(r.request.name for r in self.readings if r.source in ("raw", "post_constraint"))
        self._pools: dict[tuple[int, int], _Pool] = {}

    def set_params(self, params: TaskParams) -> None:
        """Write the values that a reset chose into the model; drop the batches, because they hold copies of it."""
        if params is not self.params and not params.same_model(self.params):
            for name, value in params.model.items():
                getattr(self.model, name)[...] = value * self.variant.factor(name)
            self._pools.clear()
        self.params = params

    def _pool(self, number: int, horizon: int) -> _Pool:
        pool = self._pools.get((number, horizon))
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._pools.pop(next(iter(self._pools)))
            batch = mujoco.batch.Batch(self.model, number, min(self.threads, number))
            if self._sensors:
                batch.bind("sensordata")
            again = None
            if self._again:
                again = ContactWrench(self.model, number * horizon, self.threads)
            pool = _Pool(batch, np.zeros((number, horizon * self.substeps, self.model.nu)), {}, again)
            self._pools[number, horizon] = pool
        return pool

    def rollout(self, start: np.ndarray, controls: np.ndarray, states: bool = False) -> Recording:
        """Simulate every control sequence from `start`.

        Args:
            start: (S,) or (N,S), mjSTATE_INTEGRATION.
            controls: (N,H,nu), native units, one row per control step.
            states: whether to record the states too.
        """
        number, horizon, width = controls.shape
        steps = self.substeps
        pool = self._pool(number, horizon)
        batch = pool.batch
        batch.state[:] = start
        if steps == 1:
            pool.control = controls  # not copied, as it is read before this method returns
        else:
            pool.control.reshape(number, horizon, steps, width)[:] = controls[:, :, None]
        record: list[Any] = list(self._fields)
        if self._sensors:
            record.append("sensordata")
        if states or self._states:
            record.append(INTEGRATION)
        for item in record:
            if item not in pool.out:  # allocated here, because a rollout that raises returns no arrays
                like = batch.bind(item) if isinstance(item, str) else batch.state
                pool.out[item] = np.zeros((number, horizon * steps, *like.shape[1:]), like.dtype)
        # Start from zero: an autoreset clears the counters, which could hide an increase over an old count.
        batch.warning[:] = 0
        failed: list[int] = []
        clock = time.perf_counter()
        try:
            batch.rollout(horizon * steps, pool.control, record=record, out=pool.out)
        except mujoco.batch.SimulationError as error:
            failed.extend(error.ids)
        self.seconds += time.perf_counter() - clock
        self.steps += number * horizon * steps
        if self._aligned:  # before judging validity: it may find divergence and reset to the default pose
            clock = time.perf_counter()
            try:
                batch.forward(stage=VELOCITY_STAGE)
            except mujoco.batch.SimulationError as error:
                failed.extend(error.ids)
            self.seconds += time.perf_counter() - clock
        # A diverged simulation may have stopped or been reset to its default pose; its time shows either.
        valid = batch.state[:, 0] > start[..., 0] + (horizon * steps - 0.5) * self.timestep
        # MuJoCo's own bound on every number, which NaN fails. The sum of all squares is a cheap first test.
        if not np.vdot(batch.state, batch.state) < mujoco.mjMAXVAL**2:
            valid &= np.maximum.reduce(np.abs(batch.state), 1) < mujoco.mjMAXVAL
        if np.count_nonzero(batch.warning):
            valid &= ~batch.warning[:, :, 1].any(1)  # (last info, number)
        if pool.again is not None:
            clock = time.perf_counter()
            before = self._before_last_substeps(pool, start, number, horizon)
            broken = pool.again.update(before, controls.reshape(-1, width))
            self.seconds += time.perf_counter() - clock
            failed.extend(np.flatnonzero(broken) // horizon)
        if failed:
            valid[failed] = False
        self.diverged += number - int(np.count_nonzero(valid))
        return Recording(
            self._read(pool, start, number, horizon),
            self._state_rows(pool, start, number, horizon) if states else nothing(number, horizon + 1, 0),
            batch.state,
            torch.from_numpy(valid),
        )

    def look(self, start: np.ndarray) -> Signals | None:
        """The signals of `at_rest` at one state (S,), as if a step had led to it: state (1,2,D), interval (1,1,1,D).

        None where a rollout that ended in this state would not be valid.
        """
        if not np.abs(start).max() < mujoco.mjMAXVAL:  # negated, because comparisons with NaN are False
            return None
        pool = self._pool(1, 1)
        pool.batch.state[:] = start
        pool.batch.warning[:] = 0  # from zero, as in `rollout`
        try:
            pool.batch.forward(stage=VELOCITY_STAGE)
        except mujoco.batch.SimulationError:
            return None
        if np.count_nonzero(pool.batch.warning[:, :, 1]):  # the batch may now be at the default pose
            return None
        state: dict[str, Tensor] = {}
        interval: dict[str, Tensor] = {}
        for reading in filter(self._belongs_to_a_state, self.readings):
            source = start[None] if reading.source == "state" else pool.batch.bind("sensordata")
            value = reading.value(np.array(source[:, reading.columns]))[:, None]
            if reading.request.at == "state":
                state[reading.request.name] = value.expand(1, 2, -1)
            else:
                interval[reading.request.name] = value[:, None]
        return Signals(MappingProxyType(state), MappingProxyType(interval))

    @property
    def at_rest(self) -> frozenset[Request]:
        """The requests that `look` answers: all but forces and acceleration-stage sensors, which belong to steps."""
        return frozenset(reading.request for reading in self.readings if self._belongs_to_a_state(reading))

    def _belongs_to_a_state(self, reading: signals.Reading) -> bool:
        return reading.source == "state" or (reading.source == "sensor" and not self._in_force_stage(reading))

    def _state_rows(self, pool: _Pool, start: np.ndarray, number: int, horizon: int) -> Tensor:
        rows = np.empty((number, horizon + 1, self.state_size))
        rows[:, 0] = start
        rows[:, 1:] = pool.out[INTEGRATION][:, self.substeps - 1 :: self.substeps]
        return torch.from_numpy(rows)

    def _before_last_substeps(self, pool: _Pool, start: np.ndarray, number: int, horizon: int) -> np.ndarray:
        """The integration state before the last substep of each control step, (N*H,S)."""
        record = pool.out[INTEGRATION]
        if self.substeps > 1:
            return record[:, self.substeps - 2 :: self.substeps].reshape(number * horizon, -1)
        before = np.empty((number, horizon, record.shape[2]))
        before[:, 0] = start
        before[:, 1:] = record[:, :-1]
        return before.reshape(number * horizon, -1)

    def _read(self, pool: _Pool, start: np.ndarray, number: int, horizon: int) -> Signals:
        steps = self.substeps
        state: dict[str, Tensor] = {}
        interval: dict[str, Tensor] = {}
        at_states = rows = None
        if self._aligned:
            record = pool.out["sensordata"]
            at_states = np.empty((number, horizon + 1, record.shape[2]))
            at_states[:, :horizon] = record[:, ::steps]
            at_states[:, horizon] = pool.batch.bind("sensordata")
        if self._states:
            rows = self._state_rows(pool, start, number, horizon).numpy()
        for reading in self.readings:
            name = reading.request.name
            if reading.source in ("raw", "post_constraint"):
                if pool.again is not None and reading.source == "post_constraint":
                    values = pool.again.values
                else:
                    values = pool.out[reading.field][:, steps - 1 :: steps]
                values = values.reshape(number, horizon, -1)
                first = np.asarray(self.params.stale[reading.field]).reshape(1, 1, -1)
                first = np.broadcast_to(first, (number, 1, first.shape[2]))
                state[name] = torch.from_numpy(np.concatenate([first, values], 1))
            elif reading.request.at == "state":
                source = rows if reading.source == "state" else at_states
                assert source is not None
                state[name] = reading.value(source[:, :, reading.columns])
            else:
                interval[name] = reading.value(self._inside(pool, reading, number, horizon))
        return Signals(MappingProxyType(state), MappingProxyType(interval))

    def _inside(self, pool: _Pool, reading: signals.Reading, number: int, horizon: int) -> np.ndarray:
        """A reading's columns at every substep, (N,H,K,·): forces during the substep, everything else at its end."""
        columns = reading.columns
        if reading.source == "control":
            values = pool.control.copy()
        elif reading.source == "state":
            values = pool.out[INTEGRATION][:, :, columns].copy()
        elif reading.source == "power":
            values = reading.power(pool.out["sensordata"])
        else:
            values = pool.out["sensordata"][:, :, columns].copy()
            if not self._in_force_stage(reading):
                values[:, :-1] = values[:, 1:]
                values[:, -1] = pool.batch.bind("sensordata")[:, columns]
        return values.reshape(number, horizon, self.substeps, -1)

    def _in_force_stage(self, reading: signals.Reading) -> bool:
        adr = self.model.sensor_adr == reading.start
        return bool((self.model.sensor_needstage[adr] == mujoco.mjtStage.mjSTAGE_ACC).any())
