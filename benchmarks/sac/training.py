"""Training a model-free agent in chunks: a run that was killed goes on from the last one as if nothing had happened.

Whatever learns is a `Learner`; `StableBaselines` is the one of `telos bench sac`, and the only place that knows
Stable-Baselines3 (Raffin et al. 2021, "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22).
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

REQUIREMENT = "stable-baselines3>=2.9,<3"  # the first that takes gymnasium 1.4; of older ones pip would replace it
CHUNK = 10_000  # environment frames from one checkpoint to the next
BUFFER = 1_000_000  # transitions, Stable-Baselines3's own default

Env = gymnasium.Env[Any, np.ndarray]
Watch = Callable[[int], None]
"""Told the environment frames so far, after every decision."""


@dataclass(frozen=True)
class Training:
    """What is trained, on what, for how long."""

    task: str
    seed: int  # of networks, exploration and starts
    frames: int  # environment frames = control steps of the task
    action_repeat: int  # frames that an action lasts
    train_freq: int  # decisions from one gradient step to the next

    def __post_init__(self) -> None:
        """Raises TelosError for what cannot be trained in whole chunks."""
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
        """The agent's steps in all."""
        return self.frames // self.action_repeat

    @property
    def labels(self) -> dict[str, Any]:
        """What tells its row from the others."""
        return asdict(self)


@dataclass(frozen=True)
class Spent:
    """What learning took, without what an interruption has lost."""

    wall: float = 0.0  # s
    cpu: float = 0.0  # s of all threads; on a busy machine the fairer number

    @classmethod
    def so_far(cls) -> Spent:
        """What the clocks of this process say."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall - other.wall, self.cpu - other.cpu)


class Learner(Protocol):
    """A policy, and how it gets better."""

    @property
    def gradient_steps(self) -> int:
        """Taken so far."""
        ...

    def learn(self, decisions: int, seed: int, watch: Watch) -> None:
        """Train for so many more decisions, from a reset on; all randomness follows from the seed. `watch` is told
        the decisions of this call after each of them."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (A,) in [-1,1], without exploration, for a flat observation (O,)."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that `learn` needs to go on into an empty folder."""
        ...


Make = Callable[[Training, Env, Path | None], Learner]
"""A new learner in this environment, or the one that was saved in the folder. Raises TelosError where it cannot be."""


class ActionRepeat(gymnasium.Wrapper[Any, np.ndarray, Any, np.ndarray]):
    """An action lasts several frames, whose rewards are summed."""

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
    """The task's real environment as learners want it: observations (O,) of float32, actions (A,) in [-1,1]."""
    env: Any = ActionRepeat(registry.make(task), action_repeat)
    return DtypeObservation(FlattenObservation(env), np.float32)


def flat(space: gymnasium.Space[Any], observation: Any) -> np.ndarray:
    """An observation as `environment` gives it, (O,)."""
    return np.asarray(gymnasium.spaces.flatten(space, observation), dtype=np.float32)


def trained(training: Training, folder: Path, make: Make, watch: Watch) -> tuple[Learner, Spent]:
    """A learner at the end of its training, and what that took.

    Each chunk begins with a reset and has a seed of its own, so one that goes on from a checkpoint sees the same as
    one that was never interrupted; what had been done of the chunk is lost.

    Args:
        folder: where its checkpoints are, and go; the last one stays.

    Raises:
        TelosError: what `make` raises.
        KeyboardInterrupt: Ctrl-C, with how far the last checkpoint has come.
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
    """The seed of the chunk that begins after so many frames: not of the stream of `agent.rollouts.episode`, from
    whose starts policies are evaluated."""
    return int(np.random.SeedSequence([seed, at], spawn_key=(1,)).generate_state(1)[0]) % 2**31


def newest(folder: Path) -> tuple[int, Spent]:
    """Frames of the last whole checkpoint in a folder, and what they took; zeros where there is none."""
    at = max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)
    if not at:
        return 0, Spent()
    return at, Spent(**json.loads((folder / str(at) / "spent.json").read_text(encoding="utf-8")))


def _save(learner: Learner, folder: Path, at: int, spent: Spent) -> None:
    """A checkpoint is there as a whole or not at all; those before it go."""
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
    """Soft actor-critic (Haarnoja et al. 2018, "Soft actor-critic: off-policy maximum entropy deep reinforcement
    learning with a stochastic actor", ICML) of Stable-Baselines3, with that library's default parameters: two layers of
    256 units, batches of 256, learning rate 3e-4, discount 0.99 per decision, learned temperature, 100 random decisions
    first. On the CPU, so that a seed says it all.

    A checkpoint is in the library's own format, which has pickles in it: go on from your own ones only.
    """

    def __init__(self, training: Training, env: Env, checkpoint: Path | None) -> None:
        """Raises TelosError where the library is missing, or the checkpoint cannot be read."""
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
        except Exception as error:  # whatever zip, pickle and torch come up with
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
    """The module `stable_baselines3`. Raises TelosError where it is not installed."""
    try:
        return import_module("stable_baselines3")
    except ImportError as error:
        raise TelosError("bench sac", f"no Stable-Baselines3 ({error})", f"pip install '{REQUIREMENT}'") from None
