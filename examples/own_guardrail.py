"""A guardrail of your own, written in a configuration: it holds under any planner, and no layer above it can relax it.

python examples/own_guardrail.py
"""

import telos
from envs.errors import GuardrailWeakened

POINT = "dm_control/point_mass-easy-v0"
SLOW = {"kind": "body_velocity", "name": "slow", "body": "pointmass", "limit": 0.08, "scale": 0.01}  # m/s


def main() -> None:
    for rules in ([], [SLOW]):
        config = telos.load(task=POINT, guardrails=rules, planner__horizon=20, planner__budget__evaluations=64)
        env = telos.environment(config)
        agent, world = telos.agent(config, env), telos.world(config, env)
        percept, fastest = world.reset(1), 0.0
        agent.reset(seed=0)
        for _ in range(60):
            percept, judged = world.step(agent.act(percept).action)
            agent.remember(judged)
            fastest = max(fastest, float((world.state[3:5] ** 2).sum() ** 0.5))
        print(f"{'with' if rules else 'without'} the guardrail: fastest {fastest:.3f} m/s")

    strict = telos.load(task=POINT, guardrails=[SLOW])
    print(f"digest of the rules: {telos.agent(strict, telos.environment(strict)).guardrails.digest[:12]}…")
    try:
        telos.load("quickstart", guardrails=[])
    except GuardrailWeakened as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()
