"""States as points: equivalent states are the same point, and small differences keep their size."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

from envs.physics.batch import INTEGRATION
from worldmodels.simulator.embedding import Embedding
from worldmodels.simulator.tangent import Tangent

XML = """
<mujoco>
  <worldbody>
    <body><freejoint/><geom size="0.1"/>
      <body pos="1 0 0"><joint type="ball"/><geom size="0.1"/>
        <body pos="1 0 0"><joint name="limited" type="hinge" limited="true" range="-100 100"/><geom size="0.1"/>
          <body pos="1 0 0"><joint name="endless" type="hinge"/><geom size="0.1"/>
            <body pos="1 0 0"><joint name="slide" type="slide"/><geom size="0.1"/></body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><general joint="slide" dyntype="integrator"/></actuator>
</mujoco>
"""
SECONDS = 0.25


def random_states(model: mujoco.MjModel, number: int) -> np.ndarray:
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    states = np.empty((number, mujoco.mj_stateSize(model, INTEGRATION)))
    for row in states:
        mujoco.mj_integratePos(model, data.qpos, rng.standard_normal(model.nv), 1.0)
        data.qvel[:] = rng.standard_normal(model.nv)
        data.act[:] = rng.standard_normal(model.na)
        mujoco.mj_getState(model, data, row, INTEGRATION)
    return states


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


def test_the_size_is_that_of_all_parts(model: mujoco.MjModel) -> None:
    points = Embedding(model).points(random_states(model, 4), SECONDS)
    assert points.shape == (4, 3 + 1 + 1 + 2 + 2 * 9 + model.nv + model.na)


def test_the_same_place_is_the_same_point(model: mujoco.MjModel) -> None:
    states = random_states(model, 5)
    other = states.copy()
    begin = mujoco.mj_stateSize(model, int(mujoco.mjtState.mjSTATE_QPOS) - 1)
    other[:, begin + 3 : begin + 7] *= -1  # the free joint's quaternion
    other[:, begin + 7 : begin + 11] *= -3  # the ball's, which MuJoCo normalises
    other[:, begin + 12] += 4 * np.pi  # the endless hinge
    other[:, 0] += 7.0  # time
    embedding = Embedding(model)
    assert_allclose(embedding.points(other, SECONDS), embedding.points(states, SECONDS), atol=1e-12)
    other[:, begin + 11] += 0.5  # the limited hinge
    moved = embedding.points(other, SECONDS) - embedding.points(states, SECONDS)
    assert_allclose(np.linalg.norm(moved, axis=1), 0.5)


def test_small_differences_count_their_size(model: mujoco.MjModel) -> None:
    """In each direction of the tangent space: m and rad unchanged, speeds as the distance that they cover."""
    (state,) = random_states(model, 1)
    tangent, embedding, size = Tangent(model), Embedding(model), 1e-5
    moved = tangent.displace(np.repeat(state[None], tangent.size, 0), size * np.eye(tangent.size))
    away = np.linalg.norm(embedding.points(moved, SECONDS) - embedding.points(state[None], SECONDS), axis=1) / size
    counts = np.concatenate([np.ones(model.nv), np.full(model.nv, SECONDS), np.ones(model.na)])
    assert_allclose(away, counts, rtol=1e-4)


def test_far_is_far(model: mujoco.MjModel) -> None:
    """Different poses are different points; half a turn is the largest angle, and it is far."""
    (state,) = random_states(model, 1)
    tangent, embedding = Tangent(model), Embedding(model)
    by = np.zeros((1, tangent.size))
    by[0, 3] = np.pi
    away = embedding.points(tangent.displace(state[None], by), SECONDS) - embedding.points(state[None], SECONDS)
    assert np.linalg.norm(away) == pytest.approx(2.0)
