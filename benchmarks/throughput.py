"""Speed as ratios inside one run: how much of MuJoCo's own throughput reaches `imagine()` and `plan()`.

    telos bench throughput            measure all tasks, then print the table
    telos bench throughput --table

For every task, at N candidates and H control steps, clocks around the same rollouts from the same state:
the bare C call (`Batch.rollout` alone, recording nothing), `imagine()`, and the problem's `evaluate()`; then
a whole `plan()` of three iterations of N candidates, and the bare C call on every candidate which that plan
evaluated. They are interleaved and the medians compared, so that the machine's other load weighs on all alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from agent.build import objective
from agent.config import CostConfig
from agent.problem import ImaginedProblem
from benchmarks import rows
from envs import registry
from envs.guardrails.ruleset import Guardrails
from envs.physics import INTEGRATION, cpus
from envs.task import Snapshot
from planners import registry as planners
from planners.problem import Budget, Plan
from worldmodels.simulator import Simulator

TASKS = (
    "dm_control/cartpole-swingup-v0",
    "dm_control/walker-walk-v0",
    "dm_control/cheetah-run-v0",
    "dm_control/humanoid-run-v0",
    "dm_control/reacher-easy-v0",
    "dm_control/ball_in_cup-catch-v0",
    "dm_control/finger-spin-v0",
)

ITERATIONS = 3
OUT = rows.RESULTS / "throughput.jsonl"


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| task | candidates × horizon | threads | bare C, million physics steps / s | `imagine()` / bare C "
        "| `plan()` / bare C | share of `plan()` inside C |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        lines.append(
            f"| {row['task'].removeprefix('dm_control/').removesuffix('-v0')} | {row['candidates']} × {row['horizon']} "
            f"| {row['threads']} | {row['bare_steps_per_second'] / 1e6:.2f} | {row['imagine_ratio']:.3f} "
            f"| {row['plan_ratio']:.3f} | {row['plan_fraction_in_c']:.1%} |"
        )
    return "\n".join(lines)


GOAL_IN_C = 0.9  # share of `plan()`


def shortfall(found: list[dict[str, Any]]) -> str:
    """Which rows miss the goal, in words."""
    short = [row for row in found if row["plan_fraction_in_c"] < GOAL_IN_C]
    if not short:
        return f"Every row reaches the goal of {GOAL_IN_C:.0%} of `plan()` inside C."
    names = [
        f"{row['task'].removeprefix('dm_control/').removesuffix('-v0')} with {row['threads']} "
        f"thread{'s' if row['threads'] > 1 else ''} ({row['plan_fraction_in_c']:.1%})"
        for row in short
    ]
    return f"Short of the goal of {GOAL_IN_C:.0%} of `plan()` inside C: {', '.join(names)}."


def _bare(model: Simulator, start: Snapshot, batches: Sequence[Tensor], threads: int) -> Callable[[], None]:
    """The C call alone on candidates (N,H,A), batch after batch, recording nothing."""
    compiled = model.task.spec().compile()
    for name, value in start.params.model.items():
        getattr(compiled, name)[...] = value
    row = start.state[: mujoco.mj_stateSize(compiled, INTEGRATION)]
    pools = {number: mujoco.batch.Batch(compiled, number, min(threads, number)) for number in map(len, batches)}
    controls = [np.repeat(model.interface.native(b.numpy()), model.physics.substeps, axis=1) for b in batches]

    def call() -> None:
        for control in controls:
            pool = pools[len(control)]
            pool.state[:] = row
            pool.rollout(control.shape[1], control, record=())

    return call


def measure(task_id: str, number: int, horizon: int, repeats: int, threads: int) -> dict[str, Any]:
    """One row: median seconds of each clock, and their ratios."""
    env = registry.make(task_id)
    env.reset(seed=0)
    task, interface, start = env.task, env.interface, env.snapshot()
    _, costs = objective(CostConfig(), task)
    model = Simulator(task, interface, costs.requests, threads=threads)
    fallback = {"fallback": torch.zeros(horizon, interface.action_size, dtype=torch.float64)}
    problem = ImaginedProblem(model, costs, Guardrails(), start, horizon, fallback)
    planner = planners.make("icem", iterations=ITERATIONS, knots=10, decay=1.0)
    state = planner.start(0)
    rng = np.random.default_rng(0)
    actions = torch.from_numpy(rng.uniform(-1, 1, (number, horizon, interface.action_size)))

    def plan() -> Plan[Any]:
        return planner.plan(state, problem, Budget(evaluations=ITERATIONS * number))[0]

    model.physics.set_params(start.params)
    population = plan().population
    assert population is not None
    once = _bare(model, start, [actions], threads)
    all_of_plan = _bare(model, start, [batch.actions for batch in population.batches], threads)
    clocks: dict[str, Callable[[], Any]] = {
        "bare": once,
        "imagine": lambda: model.imagine(start, actions),
        "evaluate": lambda: problem.evaluate(actions),
        "bare_plan": all_of_plan,
        "plan": plan,
    }
    times: dict[str, list[float]] = {name: [] for name in clocks}
    inside: list[float] = []
    for round_ in range(repeats + 3):
        for name, call in clocks.items():
            before, clock = model.physics.seconds, time.perf_counter()
            call()
            elapsed = time.perf_counter() - clock
            if round_ >= 3:  # the first rounds warm caches and buffers
                times[name].append(elapsed)
                if name == "plan":
                    inside.append((model.physics.seconds - before) / elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    steps = number * horizon * model.physics.substeps
    env.close()
    return {
        "task": task_id,
        "candidates": number,
        "horizon": horizon,
        "threads": threads,
        "physics_steps": steps,
        "bare_steps_per_second": round(steps / medians["bare"]),
        **{f"{name}_ms": round(1e3 * value, 4) for name, value in medians.items()},
        **{f"{n}_ratio": round(medians["bare"] / medians[n], 4) for n in ("imagine", "evaluate")},
        "plan_ratio": round(medians["bare_plan"] / medians["plan"], 4),
        "plan_fraction_in_c": round(statistics.median(inside), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("throughput", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, cpus()}))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if not options.table:
        found = []
        for threads in options.threads:
            for task in options.tasks:
                found.append(measure(task, options.candidates, options.horizon, options.repeats, threads))
                print(json.dumps(found[-1]), flush=True)
        options.out.unlink(missing_ok=True)  # ratios of one run belong together
        for row in found:
            rows.append(options.out, row)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
