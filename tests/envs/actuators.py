"""A one-joint arm under gravity for every type of actuator that MuJoCo has."""

from __future__ import annotations

import mujoco

ACTUATORS = {
    "motor": '<motor name="it" joint="turn" ctrlrange="-6 6"/>',
    "geared_motor": '<motor name="it" joint="turn" gear="20" ctrlrange="-0.3 0.3"/>',
    "reversed_motor": '<general name="it" joint="turn" gainprm="-2" ctrlrange="-3 3"/>',
    "filtered_motor": '<general name="it" joint="turn" dyntype="filter" dynprm="0.01" ctrlrange="-6 6"/>',
    "position": '<position name="it" joint="turn" kp="40" kv="4" ctrlrange="-1.5 1.5"/>',
    "geared_position": '<position name="it" joint="turn" kp="4" kv="0.4" gear="3" ctrlrange="-4.5 4.5"/>',
    "filtered_position": '<position name="it" joint="turn" kp="40" kv="4" timeconst="0.02" ctrlrange="-1.5 1.5"/>',
    "general_position": (
        '<general name="it" joint="turn" gainprm="30" biastype="affine" biasprm="0 -40 -4" ctrlrange="-2 2"/>'
    ),
    "intvelocity": '<intvelocity name="it" joint="turn" kp="80" kv="8" actrange="-2 2" ctrlrange="-3 3"/>',
    "pid": '<pid name="it" joint="turn" kp="40" kv="4" ctrlrange="-1.5 1.5" velrange="-2 2"/>',
    "velocity": '<velocity name="it" joint="turn" kv="5" ctrlrange="-2 2"/>',
    "damper": '<damper name="it" joint="turn" kv="8" ctrlrange="0 1"/>',
    "cylinder": '<cylinder name="it" joint="turn" timeconst="0.01" area="5" ctrlrange="-2 2"/>',
    "muscle": '<muscle name="it" tendon="cord" force="60" ctrlrange="0 1"/>',
    "adhesion": '<adhesion name="it" body="arm" gain="3" ctrlrange="0 1"/>',
    "dcmotor": '<dcmotor name="it" joint="turn" motorconst="0.5" resistance="0.2" ctrlrange="-5 5"/>',
    "integrator": '<general name="it" joint="turn" dyntype="integrator" actrange="-9 9" ctrlrange="-300 300"/>',
    "compensated": '<motor name="it" joint="turn" ctrlrange="-6 6"/>',
    "orientation": '<orientation name="it" joint="ball" kp="40" kv="4"/>',
    "plugin": '<plugin name="it" joint="turn" plugin="mujoco.pid" ctrlrange="-1.5 1.5"><config key="kp" value="40"/>'
    '<config key="kd" value="4"/></plugin>',
}
SERVOS = ("position", "geared_position", "filtered_position", "general_position", "intvelocity", "pid", "plugin")

_MODEL = """
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
    <body name="other" pos="0 1 0">
      <joint name="ball" type="ball"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0.3 0 0" mass="1"/>
    </body>
  </worldbody>
  <tendon><spatial name="cord"><site site="origin"/><site site="insertion"/></spatial></tendon>
  <actuator>{actuator}</actuator>
</mujoco>
"""


def model_of(kind: str, more: str = "") -> mujoco.MjModel:
    """The compiled model of one type, with further attributes of its actuator."""
    actuator = ACTUATORS[kind].replace('name="it"', f'name="it" {more}', 1)
    text = _MODEL.format(actuator=actuator)
    if kind == "compensated":
        text = text.replace('<body name="arm">', '<body name="arm" gravcomp="1">')
        text = text.replace('axis="0 1 0"/>', 'axis="0 1 0" actuatorgravcomp="true"/>')
    return mujoco.MjModel.from_xml_string(text)
