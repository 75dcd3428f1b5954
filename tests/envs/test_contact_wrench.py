"""The result of `mj_rnePostConstraint` after a step, computed for a whole batch."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from envs.errors import TelosError
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.physics.contact_wrench import FIELD, integrate_positions
from envs.physics.signals import check
from envs.requests import Request
from envs.task import TaskParams

XML = """
<mujoco>
  <option timestep="0.004" integrator="{integrator}" solver="{solver}"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 .2">
      <freejoint/>
      <geom type="box" size=".1 .08 .05" mass="1"/>
      <body pos=".15 0 0">
        <joint type="ball" damping=".01"/>
        <geom type="capsule" fromto="0 0 0 .2 0 0" size=".03" mass=".3"/>
        <body pos=".2 0 0">
          <joint name="hinge" axis="0 1 0" damping=".01"/>
          <geom type="capsule" fromto="0 0 0 .2 0 0" size=".03" mass=".3"/>
          <body pos=".2 0 0">
            <joint name="slide" type="slide" axis="1 0 0" stiffness="20" damping="1"/>
            <geom type="sphere" size=".04" mass=".2"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="hinge" gear="2" ctrlrange="-1 1"/>
    <general joint="slide" gear="3" ctrlrange="-1 1" dyntype="filter" dynprm=".02"/>
  </actuator>
</mujoco>
"""


def _spec(integrator: str, solver: str = "Newton") -> mujoco.MjSpec:
    return mujoco.MjSpec.from_string(XML.format(integrator=integrator, solver=solver))


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize(
    ("integrator", "solver"), [("RK4", "Newton"), ("RK4", "PGS"), ("Euler", "Newton"), ("implicit", "CG")]
)
def test_it_is_what_follows_a_plain_step(integrator: str, solver: str, substeps: int):
    number, horizon = 5, 40
    requests = [Request(f"post_constraint/{FIELD}", "state")]
    physics = BatchPhysics(lambda: _spec(integrator, solver), requests, 0.004 * substeps, threads=2)
    model = _spec(integrator, solver).compile()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    controls = rng.uniform(-1, 1, (number, horizon, 2))
    start = np.empty((number, physics.state_size))
    for row in start:
        mujoco.mj_resetData(model, data)
        data.qvel[:] = rng.normal(size=model.nv)
        mujoco.mj_getState(model, data, row, INTEGRATION)
    physics.set_params(TaskParams(stale={FIELD: np.zeros((model.nbody, 6))}))
    recording = physics.rollout(start, controls, states=True)
    assert recording.valid.all()
    touched = 0.0
    for i in range(number):
        mujoco.mj_setState(model, data, start[i], INTEGRATION)
        for t in range(horizon):
            data.ctrl[:] = controls[i, t]
            mujoco.mj_step(model, data, substeps)
            mujoco.mj_rnePostConstraint(model, data)
            found = recording.signals.state[f"post_constraint/{FIELD}"][i, t + 1].numpy()
            np.testing.assert_allclose(found, data.cfrc_ext.ravel(), rtol=1e-9, atol=1e-9)
            touched = max(touched, np.abs(data.cfrc_ext).max())
    assert touched > 10  # N: the bodies really hit the floor


def test_positions_are_integrated_as_mujoco_does():
    model = _spec("Euler").compile()
    rng = np.random.default_rng(1)
    qpos, qvel = rng.normal(size=(50, model.nq)), rng.normal(size=(50, model.nv))
    qvel[:5] = 0.0
    found = integrate_positions(model, qpos, qvel, 0.01)
    for q, v, moved in zip(qpos, qvel, found, strict=True):
        mujoco.mj_normalizeQuat(model, q)
        mujoco.mj_integratePos(model, q, v, 0.01)
        np.testing.assert_allclose(moved, q, rtol=0, atol=1e-15)


def test_other_fields_are_refused():
    with pytest.raises(TelosError, match="cfrc_ext"):
        check(_spec("Euler"), Request("post_constraint/cfrc_exts", "state"))
