"""judo's side of `telos bench peers`: its MPPI on telos's model, with the same reward.

judo-rai 0.1.0 (Robotics and AI Institute, 2025). This file runs inside judo's own virtual environment and imports
nothing of telos. N candidates, H control steps, K physics steps per control step, D components of a signal, A action
size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

Signals = Mapping[str, np.ndarray]  # name -> (N,H,D), at the state that each control step leads to
Reward = Callable[[Signals, np.ndarray], np.ndarray]  # signals, native controls (N,H,A) -> (N,H)


def below(x: np.ndarray, lower: float, margin: float, value: float | None = None) -> np.ndarray:
    """1 for x >= `lower`; below, a Gaussian that falls to 0.1, or a line that falls to `value`, at distance `margin`.

    These are the two cases of `tolerance` that walker needs (Tassa et al. 2018, "DeepMind Control Suite", section 3).
    """
    distance = np.maximum(lower - x, 0) / margin
    if value is None:
        return np.exp(np.log(0.1) * distance**2)
    return np.maximum(1 - distance * (1 - value), 0)


def cartpole_swingup(signals: Signals, control: np.ndarray) -> np.ndarray:
    """dm_control's dense reward: upright, near the centre, slow, and without effort."""
    upright = (1 + signals["body_z_axis/pole_1"][..., 2]) / 2
    centered = (1 + np.exp(np.log(0.1) * (signals["joint_position/slider"][..., 0] / 2) ** 2)) / 2
    small = (4 + np.maximum(1 - control[..., 0] ** 2, 0)) / 5
    slow = (1 + np.exp(np.log(0.1) * (signals["joint_velocity/hinge_1"][..., 0] / 5) ** 2)) / 2
    return upright * small * slow * centered


def walker_walk(signals: Signals, _: np.ndarray) -> np.ndarray:
    """dm_control's reward: stand upright, and walk at 1 m/s or more."""
    standing = below(signals["body_position/torso"][..., 2], 1.2, 0.6)
    upright = (1 + signals["body_z_axis/torso"][..., 2]) / 2
    moving = below(signals["center_of_mass_velocity/torso"][..., 0], 1.0, 0.5, 0.5)
    return (3 * standing + upright) / 4 * (5 * moving + 1) / 6


REWARDS: Mapping[str, tuple[Reward, tuple[str, ...]]] = {
    "cartpole-swingup": (
        cartpole_swingup,
        ("body_z_axis/pole_1", "joint_position/slider", "joint_velocity/hinge_1"),
    ),
    "walker-walk": (walker_walk, ("body_position/torso", "body_z_axis/torso", "center_of_mass_velocity/torso")),
}


class Reader:
    """Computes the reward of every control step from judo's recorded sensors."""

    def __init__(self, model: Any, task: str, substeps: int) -> None:
        self.reward, names = REWARDS[task]
        self.substeps = substeps
        sensors = {name: model.sensor(f"telos/{name}") for name in names}
        self.columns = {name: slice(int(s.adr[0]), int(s.adr[0] + s.dim[0])) for name, s in sensors.items()}

    def __call__(self, sensors: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Sensors (N,H*K,·) and controls (N,H*K,A) -> rewards (N,H).

        `mujoco.rollout` records sensors before each physics step. So the state after a control step is in the next
        record; the last control step has no next record and uses the one of its last physics step, one step too early.
        """
        after = np.concatenate([sensors[:, self.substeps :: self.substeps], sensors[:, -1:]], 1)
        signals = {name: after[..., columns] for name, columns in self.columns.items()}
        return self.reward(signals, controls[:, self.substeps - 1 :: self.substeps])


class Judo:
    """A `child.Side`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import mujoco
        from judo.controller import Controller, ControllerConfig  # pyright: ignore[reportMissingImports]
        from judo.optimizers.mppi import MPPI, MPPIConfig  # pyright: ignore[reportMissingImports]

        np.random.seed(0)  # noqa: NPY002 (judo draws from the global generator)
        controls = np.asarray(settings["controls"])
        self.controls = np.repeat(controls, settings["substeps"], axis=1)
        candidates, steps, size = self.controls.shape
        task = _task(settings)
        self.read: Reader = task.read
        optimizer = MPPI(
            MPPIConfig(num_rollouts=candidates, num_nodes=settings["knots"], sigma=settings["std"]),
            size,
        )
        config = ControllerConfig(horizon=settings["horizon_seconds"], spline_order="linear", max_opt_iters=1)
        self.controller = Controller(config, task, optimizer)
        if self.controller.num_timesteps != steps:
            raise ValueError(f"judo plans {self.controller.num_timesteps} physics steps ahead, allowed: {steps}")
        self.controller.current_state = self.state = np.asarray(settings["state"])
        if settings["peer_threads"] != candidates:  # by default judo uses a thread per rollout
            self.controller.rollout_backend._rollout_obj = FewerThreads(settings["peer_threads"])
        versions = {"judo-rai": version("judo-rai"), "mujoco": mujoco.__version__, "numpy": np.__version__}
        self.about = {"versions": versions, "threads": settings["peer_threads"]}

    def decide(self) -> None:
        self.controller.update_action()

    def roll_out(self) -> None:
        self.controller.rollout_backend.rollout(self.state, self.controls)

    def totals(self) -> list[float]:
        """Minus the sum of rewards over all control steps but the last, whose state judo does not record."""
        _, sensors, _ = self.controller.rollout_backend.rollout(self.state, self.controls)
        return (-self.read(sensors, self.controls)[:, :-1].sum(1)).tolist()


def _task(settings: Mapping[str, Any]) -> Any:
    """telos's model as a judo task."""
    from judo.tasks import base  # pyright: ignore[reportMissingImports]

    # The constructor of a task downloads the meshes of judo's own tasks. This model uses none of them, and there may be
    # no network.
    base.download_and_extract_meshes = lambda **_: None

    class Suite(base.Task[base.TaskConfig]):
        config_t = base.TaskConfig

        def __init__(self) -> None:
            super().__init__(settings["xml"])
            for name, values in settings["exact"].items():
                getattr(self.model, name)[...] = values
            self.read = Reader(self.model, settings["task"], settings["substeps"])

        def reward(self, states: Any, sensors: np.ndarray, controls: np.ndarray, system_metadata: Any = None) -> Any:
            return self.read(sensors, controls).sum(1)

    return Suite()


class FewerThreads:
    """MuJoCo's rollout with fewer threads than rollouts; judo has no setting for this."""

    def __init__(self, threads: int) -> None:
        from mujoco.rollout import Rollout

        self.threads = threads
        self.simulate = Rollout(nthread=threads)

    def rollout(self, models: list[Any], datas: list[Any], states: np.ndarray, controls: np.ndarray) -> Any:
        """The signature that judo's backend calls; MuJoCo needs one MjData per thread."""
        return self.simulate.rollout(models, datas[: self.threads], states, controls)


def side(settings: Mapping[str, Any]) -> Judo:
    """The side that `child.py` times."""
    return Judo(settings)
