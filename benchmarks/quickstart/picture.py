"""The README's picture: paths of the quickstart's agent and of its unguarded twin, and their margins.

python -m benchmarks.quickstart.picture [--episodes 8] [--out docs/quickstart.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch

from agent.config import resolved
from agent.config.config import Config
from agent.config.load import load
from agent.rollouts import episode
from agent.rollouts.player import made
from benchmarks.players.unguarded import unguarded
from envs.guardrails.ruleset import Guardrails

FRAMES = 160  # of 0.02 s; all agents have reached the target by then
LOOKS = {"unguarded": ("#c0392b", "--", 1.2), "product": ("#1f5fa8", "-", 1.8)}


def paths(config: Config, twin: str, episodes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each episode, positions (T,2) in m and the worst margin (T,) in m."""
    found = []
    for index in range(episodes):
        agent, world = made(config)
        if twin == "unguarded":
            agent, world = unguarded(config, world.env)
        result = episode.run(agent, world, config.seed, index, FRAMES)
        states = np.stack([agent.memory.episodes[-1].states[0], *(step.state for step in result.steps)])
        found.append((states[:, 1:3], np.array([step.margin.min() for step in result.steps])))
        world.env.close()
    return found


def draw(found: dict[str, list[tuple[np.ndarray, np.ndarray]]], rules: Guardrails, out: Path) -> None:
    """Draw two panels: the paths seen from above, and the margins over time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Circle

    figure, (above, over_time) = plt.subplots(
        1, 2, figsize=(10, 4.4), dpi=110, gridspec_kw={"width_ratios": [1, 1.35]}, layout="constrained"
    )
    for rule in rules:
        params = rule.params
        x, y = params["center"][0], params["center"][1]
        above.add_patch(Circle((x, y), params["radius"] + params["clearance"], color="#e74c3c", alpha=0.18, lw=0))
        above.add_patch(Circle((x, y), params["radius"], color="#e74c3c", alpha=0.45, lw=0))
    above.add_patch(Circle((0, 0), 0.015, color="#27ae60", alpha=0.8, lw=0))
    for twin, (colour, line, width) in LOOKS.items():
        name = "telos" if twin == "product" else "the same agent without guardrails"
        for index, (path, margin) in enumerate(found[twin]):
            above.plot(*path.T, color=colour, ls=line, lw=width, alpha=0.85)
            seconds = 0.02 * np.arange(1, len(margin) + 1)
            over_time.plot(seconds, margin, color=colour, ls=line, lw=width, label=name if index == 0 else None)
    above.set(xlim=(-0.3, 0.3), ylim=(-0.3, 0.3), aspect="equal", xlabel="x, m", ylabel="y, m")
    above.set_title("From random starts to the centre", fontsize=11)
    over_time.axhspan(-0.06, 0, color="#e74c3c", alpha=0.12, lw=0)
    over_time.axhline(0, color="#c0392b", lw=1)
    over_time.set(xlabel="s", ylabel="margin to the nearest post, m", ylim=(-0.06, None), xlim=(0, None))
    over_time.set_title("Below the line is a violation", fontsize=11)
    over_time.legend(loc="upper right", frameon=False, fontsize=9)
    for axes in (above, over_time):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/quickstart.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load("quickstart")
    found = {twin: paths(config, twin, options.episodes) for twin in LOOKS}
    draw(found, resolved.guardrails(config), options.out)


if __name__ == "__main__":
    main()
