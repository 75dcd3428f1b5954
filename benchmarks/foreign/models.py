"""Models from other packages as tasks: do they run exactly as in MuJoCo, and if not, what does the error say?

python -m benchmarks.foreign.models --packages DIR    the packages of MODELS, installed with
                                                      `pip install --no-deps --target DIR NAME`
python -m benchmarks.foreign.models --table           print the table of what there is

Each model becomes a task (it observes joint positions and velocities, and its reward depends on the controls), driven
by random actions for 50 control steps. Outcomes:

- equal: the environment and plain `mj_step` over the same compiled file pass through the same states, bit for bit, and
  a batch of planning candidates with these actions ends in the same last state;
- diverges: both diverge in the same control step;
- refused: telos refuses the file with a one-line error;
- differs, fails: anything else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mujoco
import numpy as np

from benchmarks.foreign.table import MODELS
from benchmarks.harness import rows
from envs import registry
from envs.errors import Diverged, TelosError
from envs.physics import compiler
from envs.physics.batch import INTEGRATION, BatchPhysics, divergence_after

FRAMES, SUBSTEPS, SEED = 50, 5, 0
CANDIDATES, THREADS = 3, 2
LIMIT = 600  # s for one model
TASK = """\
model: {model}
substeps: {substeps}
frames: {frames}
observation: [qpos, qvel]
reward: [{{signal: ctrl, weight: 0.01}}]
"""


def judge(model: Path) -> dict[str, Any]:
    """Outcome, message and sizes of one model; see the module docstring."""
    sizes = {name: getattr(_compiled(model), name, 0) for name in ("nq", "nv", "nu")}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.yaml"
        task.write_text(TASK.format(model=json.dumps(str(model)), substeps=SUBSTEPS, frames=FRAMES))
        try:
            outcome, message = _driven(task, model)
        except TelosError as error:
            outcome, message = "refused", str(error)
    return {**sizes, "outcome": outcome, "message": message.replace(folder, "").replace(str(model.parent), "")}


def _compiled(model: Path) -> mujoco.MjModel | None:
    """The compiled model; None if MuJoCo refuses the file."""
    compiler.quiet()
    try:
        return compiler.compiled(mujoco.MjSpec.from_file(str(model)))
    except (ValueError, mujoco.FatalError):
        return None


def _driven(task: Path, file: Path) -> tuple[str, str]:
    """Outcome and message of a task that loads. Raises TelosError for a task that is refused."""
    env = registry.make(str(task))
    env.reset(seed=SEED)
    start, interface = env.snapshot().state, env.interface
    actions = np.random.default_rng(SEED).uniform(-1, 1, (FRAMES, interface.action_size))
    plain = _compiled(file)
    assert plain is not None
    data, state = mujoco.MjData(plain), np.empty(len(start))
    mujoco.mj_setState(plain, data, start, INTEGRATION)
    for frame, action in enumerate(actions):
        data.warning.number[:] = 0
        data.ctrl[:] = interface.native(action)
        mujoco.mj_step(plain, data, nstep=SUBSTEPS)
        try:
            env.step(action)
        except Diverged as error:
            if divergence_after(plain, data):
                return "diverges", f"step {frame + 1}: {error.given}"
            return "differs", f"step {frame + 1}: only the environment diverges: {error.given}"
        mujoco.mj_getState(plain, data, state, INTEGRATION)
        if not np.array_equal(env.snapshot().state, state):
            return (
                "differs",
                f"step {frame + 1}: {np.count_nonzero(env.snapshot().state != state)} numbers of the state",
            )
    physics = BatchPhysics(env.task.spec, env.task.requests, interface.control_period, threads=THREADS)
    found = physics.rollout(start, np.repeat(interface.native(actions)[None], CANDIDATES, 0))
    if not bool(found.valid.all()):
        return "differs", "candidates diverge"
    if not np.array_equal(found.final, np.repeat(state[None], CANDIDATES, 0)):
        return "differs", f"candidates end elsewhere, in {np.count_nonzero(found.final != state)} numbers of the state"
    return "equal", ""


def _measured(package: str, model: Path) -> dict[str, Any]:
    """`judge` in its own process, because a model may crash MuJoCo."""
    command = [sys.executable, "-m", "benchmarks.foreign.models", "--judge", str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"nq": 0, "nv": 0, "nu": 0, "outcome": "fails", "message": f"not done in {LIMIT} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return {"nq": 0, "nv": 0, "nu": 0, "outcome": "fails", "message": said}


def _versions(packages: Path) -> Mapping[str, str]:
    """Versions of the packages of MODELS, installed in the folder or else beside telos."""
    there = {item.name.replace("_", "-").lower(): item.version for item in distributions(path=[str(packages)])}
    found = {}
    for name in MODELS:
        try:
            found[name] = there.get(name.replace("_", "-")) or version(name)
        except PackageNotFoundError:
            continue
    return MappingProxyType(found)


def _place(packages: Path, name: str) -> Path | None:
    """The path of a model's file, in the folder or else beside telos; None if it is in neither."""
    beside = Path(mujoco.__file__).parents[1]
    return next((folder / name for folder in (packages, beside) if (folder / name).is_file()), None)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a line per model, and the number of models per outcome."""
    lines = ["| package | model | nq | nv | nu | outcome |", "|---|---|---|---|---|---|"]
    for row in found:
        outcome = row["outcome"] + (f": {row['message']}" if row["message"] else "")
        sizes = f"{row['nq']} | {row['nv']} | {row['nu']}"
        lines.append(f"| {row['package']} {row['version']} | {row['model']} | {sizes} | {outcome.replace('|', '¦')} |")
    counts = Counter(row["outcome"] for row in found)
    return "\n".join([*lines, "", f"{len(found)} models: " + ", ".join(f"{n} {name}" for name, n in counts.items())])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing and print the table; the exit status is 1 if a model differs or fails."""
    parser = rows.parser("foreign_models", __doc__)
    parser.prog = "python -m benchmarks.foreign.models"
    parser.add_argument("--packages", type=Path, help="the folder of the installed packages")
    parser.add_argument("--judge", type=Path, help="one model file alone, as a line of JSON")
    given = parser.parse_args(argv)
    if given.judge is not None:
        print(json.dumps(judge(given.judge)))
        return 0
    there = {(row["package"], row["model"]) for row in rows.read(given.out)}
    if not given.table:
        if given.packages is None:
            parser.error("--packages is needed: the folder that holds the packages of MODELS")
        versions = _versions(given.packages)
        for package, models in MODELS.items():
            for model in models:
                file = _place(given.packages, model)
                if (package, model) in there:
                    continue
                if file is None:
                    print(f"{package}: {model} is not there: not measured", file=sys.stderr)
                    continue
                about = {"package": package, "version": versions[package], "model": model}
                rows.append(given.out, {**about, **_measured(package, file)})
    found = rows.read(given.out)
    print(table(found))
    return int(any(row["outcome"] in ("differs", "fails") for row in found))


if __name__ == "__main__":
    sys.exit(main())
