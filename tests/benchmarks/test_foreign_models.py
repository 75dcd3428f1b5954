"""The judge of models from other packages distinguishes models that run exactly as in MuJoCo from all others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.foreign import models as foreign_models
from benchmarks.foreign.table import MODELS
from benchmarks.harness import rows
from envs.mjcf.backend import Mjcf

MODEL = """
<mujoco>
  <option timestep="0.02" integrator="Euler"><flag eulerdamp="disable"/></option>
  <worldbody>
    <body><joint name="turn"/><geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass=".1"/></body>
  </worldbody>
  <actuator><velocity joint="turn" kv="{kv}" {range}/></actuator>
</mujoco>
"""


def judged(folder: Path, kv: float = 0.01, limits: str = 'ctrlrange="-1 1"') -> dict[str, object]:
    file = folder / "model.xml"
    file.write_text(MODEL.format(kv=kv, range=limits))
    return foreign_models.judge(file)


def test_a_model_that_runs(tmp_path: Path) -> None:
    assert judged(tmp_path) == {"nq": 1, "nv": 1, "nu": 1, "outcome": "equal", "message": ""}


def test_a_model_that_diverges(tmp_path: Path) -> None:
    found = judged(tmp_path, kv=3.0)
    assert found["outcome"] == "diverges"
    assert str(found["message"]).endswith("a diverged simulation (mjWARN_BADQACC)")


def test_a_model_that_is_refused(tmp_path: Path) -> None:
    found = judged(tmp_path, limits="")
    assert found["outcome"] == "refused"
    assert found["message"] == "/task.yaml: model, actuator 0: given no ctrlrange; allowed: a ctrlrange"


def test_a_world_of_ours_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Mjcf.step

    def off(self: Mjcf, action: np.ndarray) -> object:
        self.data.qvel[0] += 1e-12
        return step(self, action)

    monkeypatch.setattr(Mjcf, "step", off)
    assert judged(tmp_path)["outcome"] == "differs"


def test_the_committed_rows_cover_the_table_and_none_differs() -> None:
    found = rows.read(rows.RESULTS / "foreign_models.jsonl")
    measured = {(row["package"], row["model"]) for row in found}
    assert measured == {(package, model) for package, models in MODELS.items() for model in models}
    assert len(found) >= 40
    assert Counter(row["outcome"] for row in found).keys() <= {"equal", "diverges", "refused"}
    assert all("\n" not in row["message"] for row in found)
    assert foreign_models.table(found).count("\n") == len(found) + 3
