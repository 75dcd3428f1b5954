"""Read a run with pandas: one row per episode, and the arrays of every step.

python examples/read_a_run.py
"""

import tempfile
from pathlib import Path

import pandas as pd

import telos


def main() -> None:
    settings = {"episodes": 2, "frames": 30, "video": False, "planner__budget__evaluations": 16}
    config = telos.load(task="dm_control/cartpole-swingup-v0", **settings)
    with tempfile.TemporaryDirectory() as folder:
        run = telos.run(config, Path(folder) / "run")
        episodes = pd.DataFrame([row.numbers() for row in run.rows()])
        steps = run.steps(episode=0)
    print(episodes[["return", "violation_steps", "plan_ms_median", "model_steps_per_decision"]].round(2).to_string())
    table = pd.DataFrame({"reward": steps.reward, "plan_cost": steps.plan_cost, "action": steps.action[:, 0]})
    print(table.describe().round(3).to_string())


if __name__ == "__main__":
    main()
