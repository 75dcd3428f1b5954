"""Contact wrenches as read by an environment that calls `mj_rnePostConstraint` after `mj_step`.

The rewards of Gymnasium's Ant, Humanoid and HumanoidStandup read `cfrc_ext`, the external wrench on each body (torque,
force; in N·m and N). `mj_step` does not compute it, and a `Batch` records zeros. A sensor that needs it would make
`mj_step` compute it, but at the state *before* the substep. The environment computes it afterwards, from what `mj_step`
left in MjData. With Euler and the implicit integrators, contacts and constraint forces are those of the state before
the substep. With RK4 they are those of the fourth stage, which no sensor reads, as sensors are computed at the first.

So the last substep of every control step is computed again, stage by stage, for all N·H steps at once. Each substep
starts from the integration state recorded before it. Stage states are built as in `mj_RungeKutta`. `Batch.forward`
evaluates them on a model with one additional sensor, the trigger. The batch carries `qacc_warmstart` from stage to
stage, however the engine uses it. The cost is 4 forward passes per control step with RK4 (the K substeps themselves
cost 4K), otherwise 1, and only where requested.

`cfrc_int` and `cacc`, which `mj_rnePostConstraint` computes too, are not offered, because it mixes the velocity of the
new state into them.
"""

from __future__ import annotations

import mujoco
import mujoco.batch
import numpy as np

FIELD = "cfrc_ext"  # MjData: (nbody,6), torque and force on each body, about its tree's centre of mass
_FREE, _BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
_STAGES = (0.5, 0.5, 1.0)  # RK4: the step of each later stage, along the derivative of the stage before it


def add_trigger(spec: mujoco.MjSpec, name: str) -> None:
    """Add a sensor that makes a forward pass run `mj_rnePostConstraint`."""
    spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_FRAMELINACC,
        objtype=mujoco.mjtObj.mjOBJ_XBODY,
        objname="world",
    )


class ContactWrench:
    """Computes the last substep of many control steps again, up to `mj_rnePostConstraint`."""

    def __init__(self, model: mujoco.MjModel, number: int, threads: int) -> None:
        """
        Args:
            model: compiled, with the trigger sensor.
            number: control steps computed at once, N·H.
            threads: C threads.
        """
        self._model = model
        self._batch = mujoco.batch.Batch(model, number, min(threads, number))
        self._rk4 = model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
        # Bound before the first pass, because a field bound between two passes reads zero.
        self._qacc, self._act_dot = self._batch.bind("qacc"), self._batch.bind("act_dot")
        self.values = self._batch.bind(FIELD)  # (number,nbody,6), of the last `update`

    def update(self, states: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Recompute `values`.

        Args:
            states: (number,S), mjSTATE_INTEGRATION before the last substep.
            controls: (number,nu), native units, during the last substep.

        Returns:
            Which steps MuJoCo failed to compute, (number,) bool.
        """
        batch, h = self._batch, float(self._model.opt.timestep)
        failed = np.zeros(batch.nsim, bool)
        batch.state[:] = states
        batch.bind("ctrl")[:] = controls
        self._forward(failed)
        if not self._rk4:
            return failed
        time, qpos, qvel, act = (batch.bind(name) for name in ("time", "qpos", "qvel", "act"))
        time_0, qpos_0, qvel_0, act_0 = time.copy(), qpos.copy(), qvel.copy(), act.copy()
        for fraction in _STAGES:
            qpos[:] = integrate_positions(self._model, qpos_0, fraction * qvel, h)
            qvel[:] = qvel_0 + h * (fraction * self._qacc)
            act[:] = act_0 + h * (fraction * self._act_dot)
            time[:] = time_0 + fraction * h
            self._forward(failed)
        return failed

    def _forward(self, failed: np.ndarray) -> None:
        try:
            self._batch.forward()
        except mujoco.batch.SimulationError as error:
            failed[error.ids] = True


def integrate_positions(model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray, dt: float) -> np.ndarray:
    """`mj_integratePos` for many states: qpos (…,nq) moved by qvel (…,nv) for dt."""
    moved = np.empty_like(qpos)
    for kind, q, v in zip(model.jnt_type.tolist(), model.jnt_qposadr, model.jnt_dofadr, strict=True):
        if kind == _FREE:
            moved[..., q : q + 3] = qpos[..., q : q + 3] + dt * qvel[..., v : v + 3]
            q, v = q + 3, v + 3
        if kind in (_FREE, _BALL):
            moved[..., q : q + 4] = _rotate(qpos[..., q : q + 4], qvel[..., v : v + 3], dt)
        else:
            moved[..., q] = qpos[..., q] + dt * qvel[..., v]
    return moved


def _rotate(quaternion: np.ndarray, velocity: np.ndarray, dt: float) -> np.ndarray:
    """`mju_quatIntegrate`: quaternion (…,4) turned by a velocity (…,3) in its own frame."""
    speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
    axis = np.divide(velocity, speed, out=np.zeros_like(velocity), where=speed > 0)
    half = 0.5 * dt * speed
    c, s = np.cos(half), np.sin(half) * axis
    w, u = quaternion[..., :1], quaternion[..., 1:]
    turned = np.concatenate([w * c - (u * s).sum(-1, keepdims=True), w * s + c * u + np.cross(u, s)], -1)
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)
