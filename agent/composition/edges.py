"""Simulation of edges: trajectory segments that each start from their own state.

N edges, K control steps of each, A action size, S state size.
"""

from __future__ import annotations

from torch import Tensor

from agent.composition.problem import ImaginedProblem, answered
from envs.errors import TelosError
from envs.trajectory import Trajectory
from planners.problem import Evaluation
from worldmodels.model import Branching, WorldModel


def follow(
    problem: ImaginedProblem, model: WorldModel, nodes: Tensor, actions: Tensor
) -> tuple[Trajectory, Evaluation]:
    """Simulate edges from states (N,S) under actions (N,K,A), and evaluate their costs and margins.

    An edge's place in the horizon is not known: its margins are as strict as at any step.

    Raises:
        TelosError: a cost term depends on earlier steps or is discounted, or signals lag behind the state.
    """
    assert isinstance(model, Branching)
    objective = problem.objective
    if objective.looks_back:
        raise TelosError("cost", "a term that looks back (action_rate)", "terms of single steps, as this plan branches")
    if objective.discount != 1:
        raise TelosError("cost.discount", objective.discount, "1, as this plan branches")
    trajectory = answered(model.branch(problem.start, nodes, actions), actions)
    return trajectory, problem.evaluated(trajectory, problem.judge.anywhere(trajectory))
