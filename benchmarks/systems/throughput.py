"""The speed of `imagine()` and `plan()` as a share of MuJoCo's own throughput, as ratios within one run.

    telos bench throughput            measure all tasks, then print the table
    telos bench throughput --table
    telos bench throughput --peers    side by side with other planners instead: `telos bench peers`

For every task, at N candidates and H control steps, the benchmark times calls from the same state:

- on the same N candidates: the bare C call (only `Batch.rollout`, no sensors, recording nothing), `imagine()`,
  `imagine()` that records everything (every sensor and the integration state of every physics step), and the problem's
  `evaluate()`;
- a whole `plan()` of three iterations of N candidates, and the bare C call on every candidate that this plan evaluated.

The calls are interleaved, also over all numbers of threads, and medians are compared, so that other load on the machine
affects all alike. Then an agent with the task's preset, but this N, H and planner, plays the beginning of an episode;
its seconds inside C are divided by its seconds of planning.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from agent import build
from agent.agent import Decision
from agent.build import objective
from agent.composition.judge import Exact
from agent.composition.problem import ImaginedProblem
from agent.config.config import CostConfig
from agent.config.load import load, preset_of
from agent.rollouts import episode
from benchmarks.harness import rows
from benchmarks.peers import peers
from benchmarks.systems.throughput_table import shortfall, table
from envs import registry
from envs.environment import Environment
from envs.guardrails.ruleset import Guardrails
from envs.physics import signals
from envs.physics.batch import INTEGRATION, cpus
from envs.task import Snapshot
from planners import registry as planners
from planners.problem import Budget, Plan
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

TASKS = (
    "dm_control/cartpole-swingup-v0",
    "dm_control/walker-walk-v0",
    "dm_control/cheetah-run-v0",
    "dm_control/humanoid-run-v0",
    "dm_control/quadruped-walk-v0",
    "dm_control/reacher-easy-v0",
    "dm_control/ball_in_cup-catch-v0",
    "dm_control/finger-spin-v0",
)
SETTINGS = ((64, 40), (16, 20))  # candidates, control steps

ITERATIONS = 3
PARAMS: Mapping[str, Any] = {"iterations": ITERATIONS, "knots": 10, "decay": 1.0}
DECISIONS = 100  # of the agent that plays the beginning of an episode
WARM_UP = 3  # rounds, and decisions of an episode, that only warm caches and buffers
OUT = rows.RESULTS / "throughput.jsonl"


@dataclass(frozen=True)
class Clocks:
    """The calls to time with one number of threads, and their seconds so far."""

    model: Simulator
    calls: dict[str, Callable[[], Any]]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    inside: list[float] = field(default_factory=list)  # share of each `plan()` inside C

    def round(self, index: int) -> None:
        """Time every call once; the order rotates from round to round, because the first call finds cold caches."""
        calls = list(self.calls.items())
        first = index % len(calls)
        for name, call in [*calls[first:], *calls[:first]]:
            before, clock = self.model.physics.seconds, time.perf_counter()
            call()
            elapsed = time.perf_counter() - clock
            self.seconds.setdefault(name, []).append(elapsed)
            if name == "plan":
                self.inside.append((self.model.physics.seconds - before) / elapsed)

    def row(self, number: int, horizon: int) -> dict[str, Any]:
        """The row: median milliseconds of each call, and their ratios."""
        medians = {name: statistics.median(values[WARM_UP:]) for name, values in self.seconds.items()}
        steps = number * horizon * self.model.physics.substeps
        once = ("imagine", "imagine_all", "evaluate")
        return {
            "task": self.model.task.id,
            "candidates": number,
            "horizon": horizon,
            "threads": self.model.physics.threads,
            "physics_steps": steps,
            "bare_steps_per_second": round(steps / medians["bare"]),
            **{f"{name}_ms": round(1e3 * value, 4) for name, value in medians.items()},
            **{f"{name}_ratio": round(medians["bare"] / medians[name], 4) for name in once},
            "plan_ratio": round(medians["bare_plan"] / medians["plan"], 4),
            "plan_fraction_in_c": round(statistics.median(self.inside[WARM_UP:]), 4),
        }


def _bare(model: Simulator, start: Snapshot, batches: Sequence[Tensor], threads: int) -> Callable[[], None]:
    """The bare C call on batches of candidates (N,H,A), recording nothing.

    It uses the environment's model without its sensors. Otherwise telos, which drops unread sensors, would gain time
    that hides its own overhead.
    """
    spec = model.task.spec()
    signals.drop_unread(spec, ())
    compiled = spec.compile()
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


def _clocks(env: Environment, number: int, horizon: int, threads: int) -> Clocks:
    task, interface, start = env.task, env.interface, env.snapshot()
    _, costs = objective(CostConfig(), task)
    belief = Belief.at(start)
    model = Simulator(task, interface, costs.requests, threads=threads)
    fallback = {"fallback": torch.zeros(horizon, interface.action_size, dtype=torch.float64)}
    problem = ImaginedProblem(model, costs, Exact(Guardrails()), belief, horizon, fallback)
    planner = planners.make("icem", **PARAMS)
    state = planner.start(0)
    rng = np.random.default_rng(0)
    actions = torch.from_numpy(rng.uniform(-1, 1, (number, horizon, interface.action_size)))

    def plan() -> Plan[Any]:
        return planner.plan(state, problem, Budget(evaluations=ITERATIONS * number))[0]

    population = plan().population
    assert population is not None
    calls: dict[str, Callable[[], Any]] = {
        "bare": _bare(model, start, [actions], threads),
        "imagine": lambda: model.imagine(belief, actions),
        "imagine_all": lambda: model.imagine(belief, actions, states=True),
        "evaluate": lambda: problem.evaluate(actions),
        "bare_plan": _bare(model, start, [batch.actions for batch in population.batches], threads),
        "plan": plan,
    }
    return Clocks(model, calls)


def _in_an_episode(task_id: str, number: int, horizon: int, threads: int) -> float:
    """An agent's seconds inside C divided by its seconds of planning, in an episode after WARM_UP decisions."""
    planner = {"kind": "icem", "params": PARAMS, "horizon": horizon, "budget": {"evaluations": ITERATIONS * number}}
    overrides = {f"planner.{name}": value for name, value in planner.items()}
    config = load(preset_of(task_id), task=task_id, overrides={**overrides, "threads": threads, "video": False})
    with closing(build.environment(config)) as env, closing(build.agent(config, env.task, env.interface)) as agent:
        inside: list[float] = []
        planning: list[float] = []

        def witness(_: int, decision: Decision) -> None:
            inside.append(agent.model.spent.seconds)
            planning.append(decision.plan_seconds)

        episode.run(agent, build.world(config, env), 0, 0, WARM_UP + DECISIONS, witness=witness)
    return (inside[-1] - inside[WARM_UP - 1]) / sum(planning[WARM_UP:])


def measure(task_id: str, number: int, horizon: int, repeats: int, threads: Sequence[int]) -> list[dict[str, Any]]:
    """Measure one task at one setting; returns one row for each number of threads."""
    env = registry.make(task_id)
    env.reset(seed=0)
    found = [_clocks(env, number, horizon, count) for count in threads]
    env.close()
    for index in range(repeats + WARM_UP):
        for clocks in found:
            clocks.round(index)
    episodes = [{"episode_fraction_in_c": round(_in_an_episode(task_id, number, horizon, n), 4)} for n in threads]
    return [clocks.row(number, horizon) | more for clocks, more in zip(found, episodes, strict=True)]


def _setting(text: str) -> tuple[int, int]:
    number, _, horizon = text.partition("x")
    if not (number.isdecimal() and horizon.isdecimal() and int(number) and int(horizon)):
        raise argparse.ArgumentTypeError(f"{text!r} given, allowed: CANDIDATESxHORIZON, such as 64x40")
    return int(number), int(horizon)


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("throughput", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--settings", nargs="*", type=_setting, default=list(SETTINGS), help="such as 64x40 16x20")
    parser.add_argument("--repeats", type=rows.count, default=30)
    parser.add_argument("--threads", type=rows.count, nargs="*", default=sorted({1, cpus()}))
    parser.add_argument("--peers", action="store_true", help="side by side with other planners: `telos bench peers`")
    options = parser.parse_args(argv)
    if options.peers:
        out = [] if options.out == parser.get_default("out") else ["--out", str(options.out)]
        return peers.main([*out, *(["--table"] if options.table else [])])
    torch.set_num_threads(1)
    rows.read(options.out)  # refuses an unreadable file before measuring
    if not options.table:
        found = []
        for number, horizon in options.settings:
            for task in options.tasks:
                for row in measure(task, number, horizon, options.repeats, options.threads):
                    found.append(row)
                    print(json.dumps(row), flush=True)
        options.out.unlink(missing_ok=True)  # ratios of one run belong together
        for row in found:
            rows.append(options.out, row)
    print(table(rows.read(options.out)))
    print(f"\n{shortfall(rows.read(options.out))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
