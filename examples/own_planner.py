"""A planner of your own: hill climbing, compared with iCEM on the same problem at the same budget.

python examples/own_planner.py
"""

from dataclasses import dataclass, replace

import numpy as np

import telos
from planners import registry
from planners.problem import Budget
from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution
from planners.search.select import Scores, first


@dataclass(frozen=True)
class HillClimbingParams(SamplingParams):
    """Parameters of hill climbing."""

    shrink: float = 0.5  # factor on the noise after each iteration


class HillClimbing(SamplingPlanner[HillClimbingParams]):
    """Samples around the best candidate of the last iteration, with noise that shrinks."""

    Params = HillClimbingParams
    mean_is = "ignored"
    lqr_tolerance = 0.5

    def begin(self, distribution: Distribution) -> Distribution:
        return replace(distribution, std=np.full_like(distribution.mean, 0.5))

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        return replace(distribution, mean=knots[first(scores)], std=distribution.std * self.params.shrink)


def main() -> None:
    config = telos.load(task="dm_control/cartpole-swingup-v0", planner__horizon=50)
    env = telos.environment(config)
    agent, world = telos.agent(config, env), telos.world(config, env)
    agent.reset(seed=0)
    problem = agent.act(world.reset(0)).problem
    print(f"do nothing: cost {float(problem.evaluate(problem.proposals['fallback'][None]).cost):.3f}")
    for name, planner in (
        ("hill climbing", HillClimbing(HillClimbingParams(knots=10))),
        ("iCEM", registry.make("icem", knots=10)),
    ):
        plan, _ = planner.plan(planner.start(seed=0), problem, Budget(evaluations=400))
        print(f"{name}: cost {plan.cost:.3f}")


if __name__ == "__main__":
    main()
