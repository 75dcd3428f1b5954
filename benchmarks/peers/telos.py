"""telos's side of `telos bench peers`, and the settings and model that the peer gets.

N candidates, H control steps, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from agent.build import objective
from agent.composition.judge import Exact
from agent.composition.problem import ImaginedProblem
from agent.config.config import CostConfig
from benchmarks.peers.latent import ACTION, Network
from envs import registry
from envs.environment import Environment
from envs.guardrails.ruleset import Guardrails
from envs.physics import signals
from envs.trajectory import zeros
from planners import registry as planners
from planners.problem import Budget, Evaluation, Limits, Problem
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

SETTLE = 10  # control steps of random actions that lead to the state from which both sides plan


@dataclass(frozen=True)
class Setting:
    """The search settings of both sides."""

    candidates: int
    horizon: int
    knots: int | None  # None: one per control step
    std: float = 0.3  # of the white noise on knots; actions are in [-1,1]


def simulated(task: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """The settings of a comparison on MuJoCo; writes the model to `folder` as XML, with its assets."""
    env = _world(task)
    spec = env.task.spec()
    signals.add_sensors(spec, env.task.requests)
    compiled = spec.compile()
    for name, content in spec.assets.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    file = folder / "model.xml"
    file.write_text(spec.to_xml(), encoding="utf-8")
    size, period = env.interface.action_size, env.interface.control_period
    actions = np.random.default_rng(1).uniform(-1, 1, (setting.candidates, setting.horizon, size))
    settings = {
        "task": task,
        "xml": str(file),
        "exact": {"jnt_range": compiled.jnt_range.tolist()},  # XML rounds radians to six digits
        "state": np.concatenate([env.backend.data.qpos, env.backend.data.qvel]).tolist(),
        "controls": env.interface.native(actions).tolist(),
        "substeps": env.backend.substeps,
        "horizon_seconds": setting.horizon * period,
        "knots": setting.knots,
        "std": setting.std,
    }
    env.close()
    return settings


def latent(setting: Setting) -> dict[str, Any]:
    """The settings of a comparison in latent space."""
    controls = np.random.default_rng(1).uniform(-1, 1, (setting.candidates, setting.horizon, ACTION))
    return {
        "task": "latent",
        "seed": 0,  # of the network's weights
        "controls": controls.tolist(),
        "substeps": 1,
        "knots": setting.knots,
        "std": setting.std,
    }


def _world(task: str) -> Environment:
    """The environment in the state that both sides plan from."""
    env = registry.make(f"dm_control/{task}-v0")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(SETTLE):
        env.step(rng.uniform(-1, 1, env.interface.action_size))
    return env


@dataclass(frozen=True)
class LatentProblem:
    """A `planners.problem.Problem` over the network that pytorch-mppi plans with."""

    network: Network
    horizon: int
    dt: float = 0.05  # s; arbitrary, because nothing here has a unit
    action_size: int = ACTION

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        return MappingProxyType({"fallback": zeros(self.horizon, self.action_size)})

    @torch.inference_mode()
    def evaluate(self, actions: Tensor) -> Evaluation:
        """Costs of candidates (N,H,A), step by step through the network."""
        controls = actions.float()
        state = self.network.start.expand(len(controls), -1)
        costs = []
        for step in range(self.horizon):
            state = self.network.step(state, controls[:, step])
            costs.append(self.network.cost(state, controls[:, step]))
        number = len(controls)
        valid = torch.from_numpy(np.ones(number, dtype=bool))
        return Evaluation(torch.stack(costs, 1), zeros(number), zeros(number, 0), valid, Limits.none())

    def imagine(self, actions: Tensor) -> None:
        """Returns None: no caller needs the latent trajectory."""


class Telos:
    """A `child.Side`: the planner `mppi` with one iteration and white noise, like the peers."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        torch.set_num_threads(1)
        controls = np.asarray(settings["controls"])
        self.controls = torch.from_numpy(controls)
        self.latent = settings["task"] == "latent"
        horizon = controls.shape[1]
        self.problem = LatentProblem(Network(settings["seed"]), horizon) if self.latent else _problem(settings)
        self.planner = planners.make("mppi", iterations=1, knots=settings["knots"], beta=0.0, std=settings["std"])
        self.state = self.planner.start(0)
        self.budget = Budget(evaluations=len(controls))
        versions = {"mujoco": mujoco.__version__, "torch": torch.__version__, "numpy": np.__version__}
        self.about = {"versions": versions, "threads": settings["threads"]}

    def decide(self) -> None:
        # The plan is not shifted in time: like the peers, telos plans from the same state again and improves its plan.
        _, self.state = self.planner.plan(self.state, self.problem, self.budget)

    def roll_out(self) -> None:
        if isinstance(self.problem, ImaginedProblem):
            self.problem.model.imagine(self.problem.start, self.controls)
        else:
            self.problem.evaluate(self.controls)

    def totals(self) -> list[float]:
        """The cost of each candidate; on MuJoCo without the last control step, which judo cannot read."""
        costs = self.problem.evaluate(self.controls).step_cost
        return costs[:, : None if self.latent else -1].sum(1).tolist()


def _problem(settings: Mapping[str, Any]) -> Problem[Any]:
    env = _world(settings["task"])
    _, costs = objective(CostConfig(), env.task)
    model = Simulator(env.task, env.interface, costs.requests, threads=settings["threads"])
    horizon, size = np.shape(settings["controls"])[1:]
    fallback = {"fallback": zeros(horizon, size)}
    problem = ImaginedProblem(model, costs, Exact(Guardrails()), Belief.at(env.snapshot()), horizon, fallback)
    env.close()
    return problem


def side(settings: Mapping[str, Any]) -> Telos:
    """The side that `child.py` times."""
    return Telos(settings)
