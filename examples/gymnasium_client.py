"""Score your own policy on a telos task: its return, and how often it violates the guardrails.

python examples/gymnasium_client.py
"""

import gymnasium
import numpy as np

import telos

gymnasium.register_envs(telos)  # `import telos` registers the ids; this line tells linters that it is used

TASK = "telos/dm_control-cartpole-balance-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.05, "upper": 0.05, "unit": "m"}


def policy(observation: dict[str, np.ndarray]) -> np.ndarray:
    """A linear feedback that holds the pole upright, and ignores the guardrail."""
    (x, _, sine), (v, turn) = observation["position"], observation["velocity"]
    return np.array([0.3 * x + 0.5 * v + 5.0 * sine + 1.0 * turn], dtype=np.float32).clip(-1, 1)


def main() -> None:
    env = gymnasium.make(TASK, guardrails=[{**RAIL, "scale": 0.1}], max_episode_steps=200)
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        total, cost, worst, over = 0.0, 0.0, np.inf, False
        while not over:
            observation, reward, terminated, truncated, info = env.step(policy(observation))
            total, cost, worst = total + float(reward), cost + info["cost"], min(worst, info["margin/rail"])
            over = terminated or truncated
        print(f"seed {seed}: return {total:.1f}, {cost:.0f} violating steps, worst margin {worst:.3f} m")
    env.close()


if __name__ == "__main__":
    main()
