"""The sizes of tasks that `telos list tasks` shows, stored because making all environments takes ten seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Facts:
    """The size of a task."""

    observation: int  # numbers in an observation
    action: int  # numbers in an action
    control_period: float  # s
    frames: int  # the most control steps in an episode


FACTS: Mapping[str, Facts] = MappingProxyType(
    {
        "dm_control/acrobot-swingup-v0": Facts(6, 1, 0.01, 1000),
        "dm_control/acrobot-swingup_sparse-v0": Facts(6, 1, 0.01, 1000),
        "dm_control/ball_in_cup-catch-v0": Facts(8, 2, 0.02, 1000),
        "dm_control/cartpole-balance-v0": Facts(5, 1, 0.01, 1000),
        "dm_control/cartpole-balance_sparse-v0": Facts(5, 1, 0.01, 1000),
        "dm_control/cartpole-swingup-v0": Facts(5, 1, 0.01, 1000),
        "dm_control/cartpole-swingup_sparse-v0": Facts(5, 1, 0.01, 1000),
        "dm_control/cheetah-run-v0": Facts(17, 6, 0.01, 1000),
        "dm_control/dog-stand-v0": Facts(223, 38, 0.015, 1000),
        "dm_control/dog-walk-v0": Facts(223, 38, 0.015, 1000),
        "dm_control/dog-trot-v0": Facts(223, 38, 0.015, 1000),
        "dm_control/dog-run-v0": Facts(223, 38, 0.015, 1000),
        "dm_control/finger-spin-v0": Facts(9, 2, 0.02, 1000),
        "dm_control/finger-turn_easy-v0": Facts(12, 2, 0.02, 1000),
        "dm_control/finger-turn_hard-v0": Facts(12, 2, 0.02, 1000),
        "dm_control/fish-upright-v0": Facts(21, 5, 0.04, 1000),
        "dm_control/fish-swim-v0": Facts(24, 5, 0.04, 1000),
        "dm_control/hopper-stand-v0": Facts(15, 4, 0.02, 1000),
        "dm_control/hopper-hop-v0": Facts(15, 4, 0.02, 1000),
        "dm_control/humanoid-stand-v0": Facts(67, 21, 0.025, 1000),
        "dm_control/humanoid-walk-v0": Facts(67, 21, 0.025, 1000),
        "dm_control/humanoid-run-v0": Facts(67, 21, 0.025, 1000),
        "dm_control/manipulator-bring_ball-v0": Facts(44, 5, 0.01, 1000),
        "dm_control/pendulum-swingup-v0": Facts(3, 1, 0.02, 1000),
        "dm_control/point_mass-easy-v0": Facts(4, 2, 0.02, 1000),
        "dm_control/quadruped-walk-v0": Facts(78, 12, 0.02, 1000),
        "dm_control/quadruped-run-v0": Facts(78, 12, 0.02, 1000),
        "dm_control/reacher-easy-v0": Facts(6, 2, 0.02, 1000),
        "dm_control/reacher-hard-v0": Facts(6, 2, 0.02, 1000),
        "dm_control/swimmer-swimmer6-v0": Facts(25, 5, 0.03, 1000),
        "dm_control/swimmer-swimmer15-v0": Facts(61, 14, 0.03, 1000),
        "dm_control/walker-stand-v0": Facts(24, 6, 0.025, 1000),
        "dm_control/walker-walk-v0": Facts(24, 6, 0.025, 1000),
        "dm_control/walker-run-v0": Facts(24, 6, 0.025, 1000),
        "Ant-v5": Facts(105, 8, 0.05, 1000),
        "HalfCheetah-v5": Facts(17, 6, 0.05, 1000),
        "Hopper-v5": Facts(11, 3, 0.008, 1000),
        "Humanoid-v5": Facts(348, 17, 0.015, 1000),
        "HumanoidStandup-v5": Facts(348, 17, 0.015, 1000),
        "InvertedDoublePendulum-v5": Facts(9, 1, 0.05, 1000),
        "InvertedPendulum-v5": Facts(4, 1, 0.04, 1000),
        "Pusher-v5": Facts(23, 7, 0.05, 100),
        "Reacher-v5": Facts(10, 2, 0.02, 50),
        "Swimmer-v5": Facts(8, 2, 0.04, 1000),
        "Walker2d-v5": Facts(17, 6, 0.008, 1000),
    }
)
"""Task id -> its facts, for every built-in task; a test compares them with the environments."""
