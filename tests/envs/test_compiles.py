"""Models that MuJoCo compiles run; others, and those that no batch can simulate, are refused in one line."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest

from agent.rollouts.parcel import files_of
from envs import registry
from envs.errors import TelosError
from envs.mjcf import task as mjcf
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.requests import Request

BODY = (
    '<body name="rod" pos="0 0 1"><joint name="turn" axis="0 1 0" damping="0.1"/>'
    '<geom name="rod" type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass="1"/><site name="tip" pos=".3 0 0"/></body>'
)
MOTOR = '<actuator><motor name="torque" joint="turn" ctrlrange="-1 1"/></actuator>'
TASK = "model: model.xml\nsubsteps: 2\nreward: [{signal: joint_velocity/turn, target: 1.0, norm: l2, width: 0.1}]\n"
STL = bytes(80) + (4).to_bytes(4, "little")  # a tetrahedron, to which its four triangles are added below
for corners in ((0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)):
    points = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], np.float32)[list(corners)]
    STL += bytes(12) + points.tobytes() + bytes(2)
MESH_BODY = '<body><joint name="turn" damping="0.1"/><geom type="mesh" mesh="tetra" mass="1"/></body>'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model and a task over it; returns the task's path."""

    def written(xml: str | bytes, task: str = TASK) -> Path:
        (tmp_path / "model.xml").write_bytes(xml.encode() if isinstance(xml, str) else xml)
        (tmp_path / "task.yaml").write_text(task)
        return tmp_path / "task.yaml"

    return written


def model(inside: str = "", *, bodies: str = BODY, actuator: str = MOTOR) -> str:
    return f"<mujoco>{inside}<worldbody>{bodies}</worldbody>{actuator}</mujoco>"


def runs_like_mujoco(task: Path, xml: Path | None = None, steps: int = 12) -> None:
    """Assert that environment and batch pass through the states of plain `mj_step`, bit for bit."""
    env = registry.make(str(task))
    plain = mujoco.MjSpec.from_file(str(xml or task.parent / "model.xml")).compile()
    data, state = mujoco.MjData(plain), np.empty(mujoco.mj_stateSize(plain, INTEGRATION))
    env.reset(seed=0)
    start = env.snapshot().state
    mujoco.mj_setState(plain, data, start, INTEGRATION)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, env.interface.action_size))
    for action in actions:
        env.step(action)
        data.ctrl[:] = env.interface.native(action)
        mujoco.mj_step(plain, data, nstep=env.backend.substeps)
        mujoco.mj_getState(plain, data, state, INTEGRATION)
        np.testing.assert_array_equal(env.snapshot().state, state)
    physics = BatchPhysics(env.task.spec, env.task.requests, env.interface.control_period, threads=1)
    found = physics.rollout(start, env.interface.native(actions)[None], states=True)
    assert found.valid.tolist() == [True]
    np.testing.assert_array_equal(found.states[0, -1], state)
    env.close()


def refused(task: Path) -> str:
    with pytest.raises(TelosError) as caught:
        registry.load(str(task))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(task.parent), "")


# --- MuJoCo's own reading of a file decides --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "xml",
    [
        model("<!------ a hinge, and a motor ------>"),
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + model("<!-- mod\xe8le -->").encode("latin-1"),
        b"\xef\xbb\xbf" + model().encode(),
        model().replace("><", ">\r\n<"),
        model('<custom><text name="note" data="&amp;&lt;"/></custom>'),
    ],
    ids=["dashes in a comment", "Latin 1", "byte order mark", "carriage returns", "entities"],
)
def test_what_mujoco_reads_runs(write: Write, xml: str | bytes) -> None:
    """Naive: parse it as XML first. Other parsers refuse what MuJoCo's takes."""
    runs_like_mujoco(write(xml))


def test_names_that_are_not_utf8_are_refused(write: Write) -> None:
    xml = model().replace('name="rod" pos', 'name="tige_\xe9l\xe9" pos').encode("latin-1")
    assert "with names that are not UTF-8; allowed: a file in UTF-8" in refused(write(xml))


def test_a_mesh_folder_of_an_include(write: Write) -> None:
    """Naive: ask MuJoCo for the list. It lists parts/meshes/tetra.stl, and opens meshes/tetra.stl."""
    parts = (
        '<mujocoinclude><compiler meshdir="meshes"/><asset><mesh name="tetra" file="tetra.stl"/></asset>'
        "</mujocoinclude>"
    )
    task = write(model('<include file="parts/assets.xml"/><compiler meshdir="./meshes"/>', bodies=MESH_BODY))
    for name, content in (("parts/assets.xml", parts.encode()), ("meshes/tetra.stl", STL)):
        (task.parent / name).parent.mkdir()
        (task.parent / name).write_bytes(content)
    runs_like_mujoco(task)
    assert {Path(name).name for name in files_of(str(task))} == {"task.yaml", "model.xml", "assets.xml", "tetra.stl"}


def test_a_parcel_holds_all_that_mujoco_opens(tmp_path: Path) -> None:
    """Includes of includes, attached models with folders of their own, stripped paths, and names with entities."""
    here = tmp_path / "here and thère"
    contents: dict[str, str | bytes] = {
        "task.yaml": TASK.replace("model.xml", "scene.xml"),
        "scene.xml": '<mujoco><include file="parts/a.xml"/><asset><model name="arm" file="arm/arm.xml"/></asset>'
        f'<worldbody><frame pos="0 0 3"><attach model="arm" body="base" prefix="a_"/></frame>{BODY}</worldbody>'
        f"{MOTOR}</mujoco>",
        "parts/a.xml": '<mujocoinclude><include file="b&amp;c.xml"/></mujocoinclude>',
        "parts/b&c.xml": '<mujocoinclude><option gravity="0 0 -1"/></mujocoinclude>',
        "arm/arm.xml": '<mujoco model="arm"><compiler meshdir="meshes"/><asset>'
        '<mesh name="tetra" file="tetra.stl"/></asset><worldbody><body name="base"><joint/>'
        '<geom type="mesh" mesh="tetra" mass="1"/></body></worldbody></mujoco>',
        "arm/meshes/tetra.stl": STL,
        "unrelated.xml": "<mujoco/>",
    }
    for name, content in contents.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)
    runs_like_mujoco(here / "task.yaml", here / "scene.xml")
    packed = files_of(str(here / "task.yaml"))
    assert next(iter(packed)) == str(here / "task.yaml")
    elsewhere = tmp_path / "elsewhere"
    for name, file in packed.items():
        path = elsewhere / Path(name).relative_to(here)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)
    assert not (elsewhere / "unrelated.xml").exists()
    runs_like_mujoco(elsewhere / "task.yaml", elsewhere / "scene.xml")


def test_stripped_paths(write: Write) -> None:
    task = write(
        model(
            '<compiler strippath="true"/><asset><mesh name="tetra" file="C:\\old\\tetra.stl"/></asset>',
            bodies=MESH_BODY,
        )
    )
    (task.parent / "tetra.stl").write_bytes(STL)
    runs_like_mujoco(task)
    assert mjcf.files(task) == (task, task.parent / "model.xml", task.parent / "tetra.stl")


def test_links_are_followed_as_mujoco_follows_them(tmp_path: Path) -> None:
    """A linked model finds its meshes beside the link, not beside what it leads to."""
    stored, used = tmp_path / "stored", tmp_path / "used"
    stored.mkdir()
    (used / "meshes").mkdir(parents=True)
    (stored / "x1").write_text(
        model('<compiler meshdir="meshes"/><asset><mesh name="tetra" file="tetra.stl"/></asset>', bodies=MESH_BODY)
    )
    (stored / "x2").write_bytes(STL)
    (stored / "x3").write_text(TASK)
    (used / "model.xml").symlink_to(stored / "x1")
    (used / "meshes/tetra.stl").symlink_to(stored / "x2")
    (used / "task.yaml").symlink_to(stored / "x3")
    runs_like_mujoco(used / "task.yaml")
    assert mjcf.files(used / "task.yaml") == tuple(used / n for n in ("task.yaml", "meshes/tetra.stl", "model.xml"))


def test_a_link_to_a_task_finds_the_model_beside_the_task(write: Write, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links/task.yaml").symlink_to(write(model()))
    runs_like_mujoco(tmp_path / "links/task.yaml", tmp_path / "model.xml")
    assert mjcf.files(tmp_path / "links/task.yaml") == (tmp_path / "task.yaml", tmp_path / "model.xml")


# --- files that block a reader are refused without waiting -----------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _socket, _device], ids=["pipe", "socket", "device"])
@pytest.mark.parametrize(
    ("where", "xml"),
    [
        ("model.xml", ""),
        ("part", model('<include file="part"/>')),
        ("m/part", model('<compiler meshdir="m"/><asset><mesh file="part" content_type="model/stl"/></asset>')),
        ("part", model('<asset><texture name="t" type="2d" file="part"/></asset>')),
        ("part", model('<asset><hfield name="h" size="1 1 1 1" file="part"/></asset>')),
        ("part", model('<asset><model name="m" file="part"/></asset>')),
        ("part", model('<deformable><skin file="part"/></deformable>')),
    ],
)  # fmt: skip
def test_what_is_no_regular_file_is_refused(
    write: Write, tmp_path: Path, make: Callable[[Path], None], where: str, xml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naive: let MuJoCo open it. It waits at a pipe for ever."""
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    task = write(xml)
    (tmp_path / where).unlink(missing_ok=True)
    (tmp_path / where).parent.mkdir(exist_ok=True)
    make(Path(where))
    assert f"{where}', which is not a regular file" in refused(task)


def test_a_loop_of_links_is_refused(write: Write, tmp_path: Path) -> None:
    task = write("")
    (tmp_path / "model.xml").unlink()
    (tmp_path / "model.xml").symlink_to("model.xml")
    assert "a symbolic link that leads to no file" in refused(task)
    task.unlink()
    task.symlink_to("task.yaml")
    assert "a symbolic link that leads to no file" in refused(task)


def test_a_folder_where_a_file_is_wanted_is_refused(write: Write, tmp_path: Path) -> None:
    task = write(model('<include file="part"/>'))
    (tmp_path / "part").mkdir()
    assert "a model that MuJoCo compiles" in refused(task)
    (tmp_path / "model.xml").unlink()
    (tmp_path / "model.xml").mkdir()
    assert "a directory" in refused(task)


# --- one line for every error of MuJoCo's compiler -------------------------------------------------------------------


@pytest.mark.parametrize("timestep", ["0", "-0.001", "nan", "inf", "-inf"])
@pytest.mark.parametrize("period", ["substeps: 2", "control_period: 0.02"])
def test_a_timestep_that_is_no_time_is_refused(write: Write, timestep: str, period: str) -> None:
    task = write(model(f'<option timestep="{timestep}"/>'), TASK.replace("substeps: 2", period))
    assert "a timestep above 0 s" in refused(task)


@pytest.mark.parametrize("timestep", ["1e300", "0.03", "1e-300", "1e-9"])
def test_a_timestep_that_does_not_fit_the_period_is_refused(write: Write, timestep: str) -> None:
    task = write(model(f'<option timestep="{timestep}"/>'), TASK.replace("substeps: 2", "control_period: 0.02"))
    assert "control_period: given 0.02 s; allowed: a multiple of the model's timestep" in refused(task)


def test_more_substeps_than_a_batch_takes_are_refused(write: Write) -> None:
    assert "substeps: given 10001; allowed: 1 to 10000" in refused(
        write(model(), "model: model.xml\nsubsteps: 10001\n")
    )


def test_an_actuator_on_a_joint_that_is_not_there_is_refused(write: Write) -> None:
    """Naive: compile a copy of the spec. The copy has dropped the reference, and compiles."""
    said = refused(write(model(actuator=MOTOR.replace('"turn"', '"trun"'))))
    assert "unknown transmission target 'trun' for actuator id = 0 Element name 'torque'" in said
    assert said.endswith("allowed: a model that MuJoCo compiles")


def test_a_path_that_is_not_utf8_is_refused(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for file in (write(model()), tmp_path / "model.xml"):
        shutil.copy(file, folder)
    with pytest.raises(TelosError, match="a path in UTF-8"):
        registry.load(str(folder / "task.yaml"))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_models_run_or_are_refused(write: Write, seed: int) -> None:
    rng = random.Random(seed)
    xml = bytearray(
        model(
            '<compiler autolimits="true"/><option timestep="0.002" integrator="RK4"/>'
            '<default><geom friction="1 .1 .1"/></default>',
            actuator=MOTOR + '<sensor><jointpos name="s" joint="turn"/></sensor><keyframe><key qpos="1"/></keyframe>',
        ).encode()
    )
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(xml))
        change = rng.choice(["byte", "cut", "repeat", "number"])
        if change == "byte":
            xml[at] = rng.randrange(256)
        elif change == "cut":
            del xml[at : at + rng.randint(1, 12)]
        elif change == "repeat":
            xml[at:at] = xml[at : at + rng.randint(1, 40)]
        else:
            xml[at:at] = rng.choice([b"-", b"1e308", b"nan", b"0", b" ", b'"', b"&#0;"])
    task = write(bytes(xml))
    said = ""
    try:
        registry.load(str(task))
    except TelosError as error:
        said = str(error)
    assert "\n" not in said


# --- control inputs --------------------------------------------------------------------------------------------------

TWO_JOINTS = BODY.replace("</body>", BODY.replace("rod", "end").replace("turn", "b").replace("tip", "top") + "</body>")
PID = (
    '<actuator><pid name="servo" joint="turn" kp="5" kv="1" ctrlrange="-1 1" {}/>'
    '<motor name="torque" joint="b" {}/></actuator>'
)


def test_an_actuator_with_two_inputs_runs(write: Write) -> None:
    task = write(model(bodies=TWO_JOINTS, actuator=PID.format('velrange="-2 2"', 'ctrlrange="-3 3"')))
    runs_like_mujoco(task)
    env = registry.make(str(task))
    np.testing.assert_array_equal(env.interface.action_high, [1, 2, 3])
    env.reset(seed=0)
    env.step(np.array([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(env.control(), [0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    ("actuator", "said"),
    [
        (PID.format("", 'ctrlrange="-1 1"'), "actuator 'servo', input 2 of 2: given no velrange; allowed: a velrange"),
        (PID.format('velrange="-2 2"', ""), "actuator 'torque': given no ctrlrange; allowed: a ctrlrange"),
        (
            PID.format('velrange="-2 2"', 'ctrlrange="-1 1" ctrllimited="false"'),
            "actuator 'torque': given ctrllimited=\"false\"; allowed: ctrllimited=\"true\" beside its ctrlrange",
        ),
        (PID.format('velrange="2 -2"', ""), "input 2 of 2: given velrange=\"2 -2\"; allowed: two finite numbers"),
        (PID.format('velrange="-inf inf"', ""), "given velrange=\"-inf inf\"; allowed: two finite numbers"),
        ('<actuator><motor joint="b"/></actuator>', "model, actuator 0: given no ctrlrange"),
        ('<actuator><velocity joint="b" kv="1"/></actuator>', "model, actuator 0: given no ctrlrange"),
        ('<actuator><pid joint="b" input="vel" ctrlrange="-1 1"/></actuator>', "actuator 0: given no velrange"),
        (
            '<actuator><pid joint="b" input="pos vel ff" ctrlrange="-1 1" velrange="-1 1"/></actuator>',
            "actuator 0, input 3 of 3: given no ffrange",
        ),
        (
            '<actuator><dcmotor joint="b" motorconst=".1" resistance="1" input="pos vel"/></actuator>',
            "actuator 0, input 1 of 2: given no ctrlrange",
        ),
    ],
)  # fmt: skip
def test_an_input_without_a_range_is_named(write: Write, actuator: str, said: str) -> None:
    """Naive: use the row of the control range as the actuator's number."""
    assert said in refused(write(model(bodies=TWO_JOINTS, actuator=actuator)))


def test_an_actuator_with_three_forces_has_one_power(write: Write) -> None:
    """Naive: multiply its first force by its first velocity."""
    ball = '<body pos="0 3 0"><joint name="neck" type="ball"/><geom size=".1" pos=".1 .1 0"/></body>'
    turner = '<orientation name="turner" joint="neck" kp="1" ctrlrange="-1 1"/></actuator>'
    sensors = '<sensor><actuatorfrc name="f" actuator="turner"/><actuatorvel name="v" actuator="turner"/></sensor>'
    xml = model(bodies=BODY + ball, actuator=MOTOR.replace("</actuator>", turner) + sensors)
    task = write(xml, f"{TASK.replace('substeps: 2', 'substeps: 1')}alive: 0\n")
    task.write_text(
        task.read_text().replace("joint_velocity/turn, target: 1.0, norm: l2", "actuator_power/turner, norm: l2")
    )
    runs_like_mujoco(task)
    env = registry.make(str(task))
    env.reset(seed=0)
    start = env.snapshot().state
    actions = np.array([[0.0, 0.5, -0.2, 0.9]] * 4)
    physics = BatchPhysics(env.task.spec, env.task.requests, env.interface.control_period, threads=1)
    power = physics.rollout(start, actions[None]).signals.interval["actuator_power/turner"]
    assert power.shape == (1, 4, 1, 1)
    for step, action in enumerate(actions):
        env.step(action)
        force, velocity = (env.backend.data.sensor(name).data for name in "fv")
        np.testing.assert_allclose(power[0, step, 0, 0], force @ velocity)


# --- sensors that other elements refer to ----------------------------------------------------------------------------

SENSOR = '<sensor><jointpos name="angle" joint="turn"/><jointvel name="speed" joint="turn"/></sensor>'
TUPLE = '<custom><tuple name="measured"><element objtype="sensor" objname="angle"/></tuple></custom>'
GRID = (
    '<config key="size" value="4 4"/><config key="fov" value="45 45"/><config key="gamma" value="0"/>'
    '<config key="nchannel" value="1"/>'
)
PLUGIN = '<extension><plugin plugin="mujoco.sensor.touch_grid"><instance name="grid">{}</instance></plugin></extension>'


@pytest.mark.parametrize(
    ("inside", "after"),
    [
        (TUPLE, SENSOR),
        (
            PLUGIN.format(GRID),
            '<sensor><plugin name="skin" plugin="mujoco.sensor.touch_grid" instance="grid" objtype="site" '
            'objname="tip"/></sensor>',
        ),
        ("", '<sensor><user name="mine" dim="2" needstage="pos"/></sensor>'),
        ("", '<sensor><jointpos name="late" joint="turn" delay="0.01" nsample="8"/></sensor>'),
    ],
    ids=["tuple", "plugin instance", "user", "delay"],
)
def test_sensors_that_cannot_go_stay(write: Write, inside: str, after: str) -> None:
    """Naive: delete all sensors that no signal reads. Other elements refer to them, or the model changes."""
    runs_like_mujoco(write(model(inside, actuator=MOTOR + after)))


def test_sensors_that_nobody_names_still_go(write: Write) -> None:
    task = registry.load(str(write(model(actuator=MOTOR + SENSOR))))
    assert BatchPhysics(task.spec, (), 0.004, threads=1).model.nsensor == 0


# --- contents of a state ---


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ('<flag sleep="enable"/>', '<flag sleep="disable"/>: a plan starts from'),
        ('<flag ipc="enable"/>', '<flag ipc="disable"/>: a plan starts from'),
        ('<flag sensor="disable"/>', '<flag sensor="enable"/>: signals are read by sensors, and would all be 0'),
    ],
)
def test_flags_under_which_nobody_can_plan_are_refused(write: Write, given: str, allowed: str) -> None:
    """Naive: let the batch raise, or read zeros for signals, which keep every guardrail."""
    said = refused(write(model(f'<option integrator="discrete" solver="CG">{given}</option>')))
    assert f"model: given {given}; allowed: {allowed}" in said


FEATURES = {
    "cloth": model(
        bodies=BODY + '<geom type="plane" size="2 2 .1"/><flexcomp name="cloth" type="grid" count="4 4 1" '
        'spacing=".1 .1 .1" pos="0 0 .5" radius=".01" mass=".2" dim="2"><edge equality="true"/></flexcomp>'
    ),
    "cable plugin": model(
        '<extension><plugin plugin="mujoco.elasticity.cable"/></extension>',
        bodies=BODY
        + '<composite prefix="c" type="cable" curve="s" count="7 1 1" size="1" offset="0 1 1" initial="none">'
        '<plugin plugin="mujoco.elasticity.cable"><config key="twist" value="1e6"/><config key="bend" value="1e6"/>'
        '</plugin><joint kind="main" damping=".015"/><geom type="capsule" size=".005"/></composite>',
    ),
    "actuator plugin": model(
        '<extension><plugin plugin="mujoco.pid"><instance name="p"><config key="kp" value="4"/>'
        '<config key="ki" value="4"/><config key="imax" value="1"/></instance></plugin></extension>',
        actuator='<actuator><plugin joint="turn" plugin="mujoco.pid" instance="p" actdim="1" ctrlrange="-1 1" '
        'ctrllimited="true"/></actuator>',
    ),
    "delayed actuator": model(actuator=MOTOR.replace("/></act", ' delay=".03" nsample="10"/></act')),
    "user data": model('<size nuserdata="5"/>'),
    "mocap": model(
        bodies=BODY + '<body name="m" mocap="true" pos="1 1 1"><geom size=".1"/></body>'
        '<body name="w" pos="1 1 .8"><freejoint/><geom size=".1"/></body>',
        actuator=f'<equality><weld body1="m" body2="w"/></equality>{MOTOR}',
    ),
    "muscle": model(actuator='<actuator><muscle joint="turn" force="5" ctrlrange="0 1" lengthrange="0 1"/></actuator>'),
    "discrete": model('<option integrator="discrete"/>'),
    "energy": model('<option><flag energy="enable"/></option>'),
}


@pytest.mark.parametrize("xml", FEATURES.values(), ids=FEATURES.keys())
def test_features_that_a_state_holds_run(write: Write, xml: str) -> None:
    runs_like_mujoco(write(xml))


def test_a_batch_refuses_it_too() -> None:
    xml = model('<option><flag sleep="enable"/></option>')
    with pytest.raises(TelosError, match='model: given <flag sleep="enable"/>'):
        BatchPhysics(lambda: mujoco.MjSpec.from_string(xml), [Request("qpos", "state")], 0.02)


# --- warnings --------------------------------------------------------------------------------------------------------

RIDER = '<mujoco model="rider"><option timestep="0.005"/><worldbody><body name="base"/></worldbody></mujoco>'


def test_a_warning_of_the_compiler_is_told_once(
    write: Write, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    inside = '<option timestep="0.004"/><asset><model name="rider" file="rider.xml"/></asset>'
    attach = '<frame><attach model="rider" body="base" prefix="r_"/></frame>'
    task = write(model(inside, bodies=attach + BODY))
    (task.parent / "rider.xml").write_text(RIDER)
    for _ in range(2):
        env = registry.make(str(task))
        BatchPhysics(env.task.spec, env.task.requests, env.interface.control_period)
    assert [record.getMessage() for record in caplog.records] == [
        "model: Attach conflict when attaching 'rider', policy is 'warning' "
        "timestep: parent has 0.004, child has 0.005, keeping parent value"
    ]
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


# --- elements without a name -----------------------------------------------------------------------------------------

KEYS = '<keyframe><key qpos="0.5"/><key name="7" qpos="0.7"/><key name="up" qpos="1"/></keyframe>'


@pytest.mark.parametrize(("keyframe", "position"), [("0", 0.5), ("2", 1.0), ("'7'", 0.7), ("up", 1.0)])
def test_a_keyframe_is_named_or_counted(write: Write, keyframe: str, position: float) -> None:
    env = registry.make(str(write(model(actuator=MOTOR + KEYS), f"{TASK}reset: {{keyframe: {keyframe}}}\n")))
    env.reset(seed=0)
    assert env.backend.data.qpos.tolist() == [position]


@pytest.mark.parametrize(
    ("keyframe", "said"),
    [
        ("''", "reset.keyframe: given ''; allowed: a keyframe's name, or its index from 0 on"),
        ("-1", "reset.keyframe: given -1; allowed: a keyframe's name, or its index from 0 on"),
        ("true", "reset.keyframe: given True; allowed: a keyframe's name, or its index from 0 on"),
        ("1.0", "reset.keyframe: given 1.0; allowed: a keyframe's name, or its index from 0 on"),
        ("3", "reset.keyframe: given 3; allowed: 7, up, an index from 0 to 2"),
        ("'0'", "reset.keyframe: given '0'; allowed: 7, up, an index from 0 to 2"),
        ("upp", "reset.keyframe: given 'upp'; did you mean 'up'?; allowed: 7, up, an index from 0 to 2"),
    ],
)
def test_a_keyframe_that_is_not_there_is_refused(write: Write, keyframe: str, said: str) -> None:
    assert said in refused(write(model(actuator=MOTOR + KEYS), f"{TASK}reset: {{keyframe: {keyframe}}}\n"))


@pytest.mark.parametrize(
    "more",
    [
        "reset: {joints: {'': {qpos: [0, 1]}}}",
        "back_up: {seconds: 0.2, rest_speed: 5, gain: 0.1, joints: ['']}",
        "observation: [joint_position/]",
        "termination: [{signal: site_position/, upper: 1}]",
        "termination: [{signal: sensor/, upper: 1}]",
    ],
)
def test_what_has_no_name_cannot_be_named(write: Write, more: str) -> None:
    unnamed = '<body><joint/><geom size=".1"/><site/></body>'
    sensor = '<sensor><jointpos joint="turn"/></sensor>'
    said = refused(write(model(bodies=BODY + unnamed, actuator=MOTOR + sensor), f"{TASK}{more}\n"))
    assert "allowed: " in said


def test_advice_that_a_termination_can_follow(write: Write) -> None:
    """Naive: give the advice for guardrails. A termination has no granularity."""
    sensor = '<sensor><accelerometer name="acc" site="tip"/></sensor>'
    task = write(model(actuator=MOTOR + sensor), f"{TASK}termination: [{{signal: sensor/acc, upper: 100}}]\n")
    assert "rewards, costs and terminations can read body_velocity, site_velocity" in refused(task)
    for signal in ("body_velocity/rod", "site_velocity/tip", "actuator_force/torque", "contact_force/rod"):
        registry.load(
            str(write(model(actuator=MOTOR + sensor), f"{TASK}termination: [{{signal: {signal}, upper: 9}}]\n"))
        )
