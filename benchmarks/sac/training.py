"""Trains a model-free agent in chunks: a killed training continues from the last chunk, with the same result.

`Learner` is the interface of trainable agents. `StableBaselines` implements it for `telos bench sac`, and only this
class uses Stable-Baselines3 (Raffin et al. 2021, "Stable-Baselines3: reliable reinforcement learning implementations",
JMLR 22).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from envs import registry
from envs.errors import TelosError

REQUIREMENT = "stable-baselines3>=2.9,<3"  # 2.9 is the first that accepts gymnasium 1.4; older ones downgrade it
CHUNK = 10_000  # environment frames between checkpoints
BUFFER = 1_000_000  # transitions, Stable-Baselines3's own default

Env = gymnasium.Env[Any, np.ndarray]
Watch = Callable[[int], None]
"""Called after every decision with the progress so far: environment frames in `trained`, decisions in `learn`."""


@dataclass(frozen=True)
class Training:
    """The settings of one training."""

    task: str
    seed: int  # of networks, exploration and starts
    frames: int  # environment frames = control steps of the task
    action_repeat: int  # frames per decision
    train_freq: int  # decisions per gradient step

    def __post_init__(self) -> None:
        """Raises TelosError for an unknown task, a number out of range, or chunks that are not whole updates."""
        registry.load(self.task)
        for name, least in (("seed", 0), ("frames", 1), ("action_repeat", 1), ("train_freq", 1)):
            value = getattr(self, name)
            if value < least:
                raise TelosError(f"--{name.replace('_', '-')}", value, f">= {least}")
        update = self.action_repeat * self.train_freq
        if CHUNK % update or self.frames % update:
            given = f"{self.action_repeat} x {self.train_freq} frames"
            raise TelosError("--action-repeat x --train-freq", given, f"a divisor of --frames and of {CHUNK:,}")

    @property
    def decisions(self) -> int:
        """Total number of the agent's decisions."""
        return self.frames // self.action_repeat

    @property
    def labels(self) -> dict[str, Any]:
        """The fields that identify its row."""
        return asdict(self)


@dataclass(frozen=True)
class Spent:
    """The time spent learning, without work that an interruption discarded."""

    wall: float = 0.0  # s
    cpu: float = 0.0  # s of all threads; the fairer number on a busy machine

    @classmethod
    def so_far(cls) -> Spent:
        """The current readings of this process's clocks."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall - other.wall, self.cpu - other.cpu)


class Learner(Protocol):
    """A policy that can be trained."""

    @property
    def gradient_steps(self) -> int:
        """Number of gradient steps taken so far."""
        ...

    def learn(self, decisions: int, seed: int, watch: Watch) -> None:
        """Reset the environment and train for `decisions` more decisions.

        The seed determines all randomness. After each decision, `watch` gets the number of decisions of this call.
        """
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (A,) in [-1,1], without exploration, for a flat observation (O,)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that `learn` needs to continue into an empty folder."""
        ...


Make = Callable[[Training, Env, Path | None], Learner]
"""Makes a new learner in this environment, or loads the one saved in the folder. Raises TelosError if it cannot."""


class ActionRepeat(gymnasium.Wrapper[Any, np.ndarray, Any, np.ndarray]):
    """Repeats each action for several frames and sums their rewards."""

    def __init__(self, env: Env, times: int) -> None:
        super().__init__(env)
        self._times = times

    def step(self, action: np.ndarray) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One decision."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        total = float(reward)
        for _ in range(self._times - 1):
            if terminated or truncated:
                break
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
        return observation, total, terminated, truncated, info


def environment(task: str, action_repeat: int) -> Env:
    """The task's real environment in the form for learners: observations (O,) of float32, actions (A,) in [-1,1]."""
    env: Any = ActionRepeat(registry.make(task), action_repeat)
    return DtypeObservation(FlattenObservation(env), np.float32)


def flat(space: gymnasium.Space[Any], observation: Any) -> np.ndarray:
    """An observation flattened to float32 as `environment` returns it, (O,)."""
    return np.asarray(gymnasium.spaces.flatten(space, observation), dtype=np.float32)


def trained(training: Training, folder: Path, make: Make, watch: Watch) -> tuple[Learner, Spent]:
    """Train, or continue from the last checkpoint; returns the trained learner and the time spent.

    Each chunk begins with a reset and its own seed, so a training continued from a checkpoint sees the same data as one
    without interruption. An interruption discards the unfinished chunk.

    Args:
        folder: checkpoints are read from and written to it; only the last one is kept.

    Raises:
        TelosError: `make` raised it.
        KeyboardInterrupt: Ctrl-C; the message has the frames of the last checkpoint.
    """
    at, spent = newest(folder)
    try:
        with closing(environment(training.task, training.action_repeat)) as env:
            learner = make(training, env, folder / str(at) if at else None)
            watch(at)
            while at < training.frames:
                frames = min(CHUNK, training.frames - at)
                clock = Spent.so_far()
                learner.learn(
                    frames // training.action_repeat, seed_of(training.seed, at), _frames(training, at, watch)
                )
                at, spent = at + frames, spent + (Spent.so_far() - clock)
                _save(learner, folder, at, spent)
            return learner, spent
    except KeyboardInterrupt:
        said = f"{at:,} of {training.frames:,} frames of {training.task} are trained; the same command goes on"
        raise KeyboardInterrupt(said) from None


def _frames(training: Training, at: int, watch: Watch) -> Watch:
    return lambda decisions: watch(at + decisions * training.action_repeat)


def seed_of(seed: int, at: int) -> int:
    """The seed of the chunk that begins at frame `at`.

    It comes from another stream than the seeds of `agent.rollouts.episode`, which give the evaluation's starts.
    """
    return int(np.random.SeedSequence([seed, at], spawn_key=(1,)).generate_state(1)[0]) % 2**31


def newest(folder: Path) -> tuple[int, Spent]:
    """Frames of the last complete checkpoint in a folder, and the time they took; zeros if there is none."""
    at = max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)
    if not at:
        return 0, Spent()
    return at, Spent(**json.loads((folder / str(at) / "spent.json").read_text(encoding="utf-8")))


def _save(learner: Learner, folder: Path, at: int, spent: Spent) -> None:
    """Write a checkpoint atomically (by renaming its folder), then delete all earlier ones."""
    fresh = folder / f"{at}.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    learner.save(fresh)
    (fresh / "spent.json").write_text(json.dumps(asdict(spent)), encoding="utf-8")
    fresh.rename(folder / str(at))
    for path in folder.glob("*"):
        if path.name != str(at):
            shutil.rmtree(path, ignore_errors=True)


class StableBaselines:
    """Soft actor-critic (SAC) of Stable-Baselines3 with that library's default parameters.

    Source: Haarnoja et al. 2018, "Soft actor-critic: off-policy maximum entropy deep reinforcement learning with a
    stochastic actor", ICML. Defaults: two layers of 256 units, batches of 256, learning rate 3e-4, discount 0.99 per
    decision, learned temperature, 100 random decisions first. It runs on the CPU, so that the seed determines the
    result.

    A checkpoint is in the library's own format, which contains pickles: load only your own checkpoints.
    """

    def __init__(self, training: Training, env: Env, checkpoint: Path | None) -> None:
        """Raises TelosError if the library is missing or the checkpoint cannot be read."""
        sac = library().SAC
        if checkpoint is None:
            self._model = sac(
                "MlpPolicy",
                env,
                buffer_size=min(BUFFER, training.decisions),
                train_freq=training.train_freq,
                gradient_steps=1,
                seed=seed_of(training.seed, 0),
                device="cpu",
            )
            return
        try:
            self._model = sac.load(checkpoint / "model.zip", env=env, device="cpu")
            self._model.load_replay_buffer(checkpoint / "replay.pkl")
        except Exception as error:  # zip, pickle and torch raise many types
            raise TelosError(str(checkpoint), f"what cannot be read ({error})", "delete it to train anew") from None

    @property
    def gradient_steps(self) -> int:
        """See `Learner`."""
        return int(self._model._n_updates)

    def learn(self, decisions: int, seed: int, watch: Watch) -> None:
        """See `Learner`."""
        model = self._model
        before = model.num_timesteps
        model.set_env(model.get_env(), force_reset=True)
        model.set_random_seed(seed)

        def told(local: Any, _: Any) -> bool:
            watch(model.num_timesteps - before)
            return True

        model.learn(decisions, callback=told, reset_num_timesteps=False)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See `Learner`."""
        return self._model.predict(observation, deterministic=True)[0]

    def save(self, folder: Path) -> None:
        """See `Learner`."""
        self._model.save(folder / "model.zip")
        self._model.save_replay_buffer(folder / "replay.pkl")


def library() -> Any:
    """The module `stable_baselines3`. Raises TelosError if it is not installed."""
    try:
        return import_module("stable_baselines3")
    except ImportError as error:
        raise TelosError("bench sac", f"no Stable-Baselines3 ({error})", f"pip install '{REQUIREMENT}'") from None
