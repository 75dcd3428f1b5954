"""How many physics steps a candidate costs, so that budgets can be given in physics steps."""

from __future__ import annotations

from functools import cache

from agent.config.config import Config, SimulatorConfig
from envs import registry
from envs.errors import TelosError


@cache
def natural(task_id: str) -> tuple[float, float]:
    """Control period and physics time step of the task's environment, s."""
    backend = registry.load(task_id).backend()
    try:
        timestep = float(backend.model.opt.timestep)
        return backend.substeps * timestep, timestep
    finally:
        backend.close()


def per_candidate(config: Config) -> int:
    """Physics steps of one candidate: horizon times the planning model's steps per control step."""
    period, timestep = natural(config.task)
    model = config.world_model
    planned = (model.timestep if isinstance(model, SimulatorConfig) else None) or timestep
    return config.planner.horizon * round(period / planned)


def affordable(config: Config, budget: int) -> dict[str, int]:
    """The planner's budget, in candidates, that spends at most `budget` physics steps per decision.

    Raises:
        TelosError: the steps are too few for one candidate.
    """
    least = per_candidate(config)
    if budget < least:
        raise TelosError("--budget", f"{budget:,} physics steps", f">= {least:,}, one candidate on {config.task}")
    return {"evaluations": budget // least}
