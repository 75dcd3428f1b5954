"""Neutral and back-up controls on every type of actuator: `python -m benchmarks.back_up_laws`.

One arm of 0.3 m and 1 kg starts 0.4 rad below the horizontal and falls at 0.5 rad/s. Each law acts for one second on
each type of actuator. The table gives the arm's largest turn, its final angle and its final speed, or the field for
which the law was refused.
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import get_args

import mujoco
import numpy as np

from envs.backup import BackUp, Law
from envs.errors import TelosError
from envs.guard.controller import BackUpController, Neutral
from envs.physics.batch import INTEGRATION
from envs.task import Interface, TaskParams

PERIOD, SECONDS = 0.02, 1.0  # s
ANGLE, SPEED = 0.4, 0.5  # rad, rad/s
ACTUATORS = MappingProxyType(
    {
        "motor": '<motor joint="turn" ctrlrange="-6 6"/>',
        "position servo": '<position joint="turn" kp="40" kv="4" ctrlrange="-1.5 1.5"/>',
        "integrating servo": '<intvelocity joint="turn" kp="80" kv="8" actrange="-2 2" ctrlrange="-3 3"/>',
        "PID servo": '<pid joint="turn" kp="40" kv="4" ctrlrange="-1.5 1.5" velrange="-2 2"/>',
        "velocity servo": '<velocity joint="turn" kv="5" ctrlrange="-2 2"/>',
        "damper": '<damper joint="turn" kv="8" ctrlrange="0 1"/>',
        "cylinder": '<cylinder joint="turn" timeconst="0.01" area="5" ctrlrange="-2 2"/>',
        "muscle": '<muscle tendon="cord" force="60" ctrlrange="0 1"/>',
        "adhesion": '<adhesion body="arm" gain="3" ctrlrange="0 1"/>',
        "dcmotor": '<dcmotor joint="turn" motorconst="0.5" resistance="0.2" ctrlrange="-5 5"/>',
        "plugin (PID)": '<plugin joint="turn" plugin="mujoco.pid" ctrlrange="-1.5 1.5"><config key="kp" value="40"/>'
        '<config key="kd" value="4"/></plugin>',
    }
)
MODEL = """
<mujoco>
  <extension><plugin plugin="mujoco.pid"/></extension>
  <option timestep="0.004" integrator="implicitfast"/>
  <worldbody>
    <site name="origin" pos="0 0 0.1"/>
    <body name="arm">
      <joint name="turn" axis="0 1 0"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0.3 0 0" mass="1"/>
      <site name="insertion" pos="0.1 0 0.02"/>
    </body>
  </worldbody>
  <tendon><spatial name="cord"><site site="origin"/><site site="insertion"/></spatial></tendon>
  <actuator>{actuator}</actuator>
</mujoco>
"""


def outcome(actuator: str, law: Law | None) -> str:
    """The table's cell for one law and one actuator; a law of None is the neutral control."""
    model = mujoco.MjModel.from_xml_string(MODEL.format(actuator=actuator))
    interface = Interface(PERIOD, *model.actuator_ctrlrange.T.copy(), frame_limit=1)
    data, state = mujoco.MjData(model), np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    data.qpos[0], data.qvel[0] = ANGLE, SPEED
    if model.na and model.actuator_dyntype[0] == mujoco.mjtDyn.mjDYN_INTEGRATOR:
        data.act[0] = ANGLE
    mujoco.mj_getState(model, data, state, INTEGRATION)
    neutral = Neutral(model, interface)
    controller, begun = None, np.zeros(0)
    if law is not None:
        more = {"posture": (("turn", 0.0),), "within": 0.05} if law == "retreat" else {}
        try:
            controller = BackUpController(BackUp(SECONDS, 0.05, law=law, **more), model, interface)
        except TelosError as error:
            return f"refused ({error.where.removeprefix('back_up.')})"
        begun = controller.begin(state)
    farthest = 0.0
    for _ in range(round(SECONDS / PERIOD)):
        mujoco.mj_getState(model, data, state, INTEGRATION)
        action = neutral.action(state, TaskParams()) if controller is None else controller.action(state, begun)
        data.ctrl[:] = interface.native(action)
        mujoco.mj_step(model, data, nstep=round(PERIOD / model.opt.timestep))
        farthest = max(farthest, float(data.qpos[0]) - ANGLE, key=abs)
    return f"at most {farthest:+.2f}, ends at {data.qpos[0] - ANGLE:+.2f} rad, {data.qvel[0]:+.2f} rad/s"


def main() -> int:
    laws: list[Law | None] = [None, *get_args(Law)]
    print("| actuator | " + " | ".join("neutral" if law is None else f"`{law}`" for law in laws) + " |")
    print("|---" * (len(laws) + 1) + "|")
    for name, actuator in ACTUATORS.items():
        print(f"| {name} | " + " | ".join(outcome(actuator, law) for law in laws) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
