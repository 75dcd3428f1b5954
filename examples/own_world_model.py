"""A world model of your own: fitted to random steps, it plans from observations, by iCEM and by gradient."""

import numpy as np
import torch

from agent import build
from agent.config.load import load
from envs.trajectory import Signals, Trajectory, no_doubt
from worldmodels.model import Source, Spent

POINT, SEEN = "dm_control/point_mass-easy-v0", 4  # an observation is two positions and two velocities


class Linear:
    """observation' = A observation + B action, by least squares; it has gradients."""

    stride, signals, spent = 1, frozenset(), Spent()
    starts_from: Source = "observation"

    def __init__(self, env, steps=300):
        rng, rows, now = np.random.default_rng(0), [], env.reset(seed=0)[0]
        for _ in range(steps):
            action = rng.uniform(-1, 1, env.interface.action_size)
            rows.append(np.concatenate([*now.values(), action, *(now := env.step(action)[0]).values()]))
        table = torch.tensor(np.array(rows))
        self.weights = torch.linalg.lstsq(table[:, :-SEEN], table[:, -SEEN:]).solution
        self.dt, self.action_size = env.interface.control_period, env.interface.action_size

    def differentiate(self, start, actions):
        states = [torch.as_tensor(start.features[-SEEN:]).expand(len(actions), -1)]
        for t in range(actions.shape[1]):
            states.append(torch.cat([states[-1], actions[:, t]], 1) @ self.weights)
        sound = torch.ones(len(actions), dtype=torch.bool)  # no candidate diverges
        return Trajectory(torch.stack(states, 1), actions, Signals(), sound, no_doubt(actions), self.dt)

    def imagine(self, start, actions, states=False):
        return self.differentiate(start, actions.detach())


class RewardHead:
    """A cost on the model's states: the squared distance from the target, which is the origin."""

    requests, reads_states = (), True

    def step_cost(self, trajectory, params):
        return trajectory.states[:, 1:, :2].square().sum(-1)


for planner in ("icem", "gradient"):
    search = {"kind": planner, "horizon": 25, "budget": {"evaluations": 64}}
    config = load(task=POINT, overrides={"planner": search, "perception.kind": "stacked"})
    env = build.environment(config)
    agent = build.agent(config, env.task, env.interface, model=Linear(env), costs={"reward": (1.0, RewardHead())})
    world = build.world(config, env)
    agent.reset(0)
    percept = world.reset(3)
    for _ in range(130):
        percept, judged = world.step(agent.act(percept).action)
        agent.remember(judged)
    print(f"{planner}: {1000 * np.linalg.norm(percept.observation['position']):.1f} mm from the target")
