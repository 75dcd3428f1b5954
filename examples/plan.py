"""Watch an agent plan: the quickstart's agent moves between its posts, and the monitor judges every step.

python examples/plan.py
"""

import telos


def main() -> None:
    config = telos.load("quickstart", planner__horizon=30, planner__budget__evaluations=64)
    env = telos.environment(config)
    agent, world = telos.agent(config, env), telos.world(config, env)
    percept = world.reset(0)
    agent.reset(seed=0)
    total, closest = 0.0, float("inf")
    for step in range(40):
        decision = agent.act(percept)
        percept, judged = world.step(decision.action)  # the gate may replace the action
        agent.remember(judged)
        total, closest = total + judged.reward, min(closest, float(judged.margin.min()))
        if step % 10 == 0:
            plan = decision.plan
            print(f"step {step}: {plan.statistics.evaluations} candidates, plan cost {plan.cost:.3f}")
    print(f"return {total:.2f}, smallest margin {1000 * closest:.1f} mm")


if __name__ == "__main__":
    main()
