"""The short-term memory module: past episodes, read as windows or by similar states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agent.memory.episode import ARRAYS, Episode, Window
from envs.errors import TelosError

NOTHING = np.zeros((0, 0))


class Memory:
    """The last `capacity` episodes, and the one under way."""

    def __init__(self, capacity: int = 10) -> None:
        if capacity < 1:
            raise TelosError("memory.capacity", capacity, "episodes >= 1")
        self.capacity = capacity
        self.episodes: list[Episode] = []
        self._observations: list[np.ndarray] = []
        self._states: list[np.ndarray] = []
        self._steps: list[tuple[np.ndarray, float, np.ndarray]] = []
        self._params: Mapping[str, np.ndarray] = {}
        self._about = ("", "")
        self._ended = (False, False)

    def begin(
        self,
        observation: np.ndarray,
        state: np.ndarray | None,
        params: Mapping[str, np.ndarray] = MappingProxyType({}),
        goal: str = "",
        actor: str = "",
    ) -> None:
        """Start an episode; one under way is closed first.

        Args:
            observation: (F,), or pixels.
            state: (S,), the believed simulator state, where there is one.
            params, goal, actor: see `Episode`.
        """
        self.close()
        self._observations = [np.array(observation)]
        self._states = [] if state is None else [np.array(state)]
        self._params, self._about = params, (goal, actor)

    def add(
        self,
        action: np.ndarray,
        reward: float,
        margin: np.ndarray,
        observation: np.ndarray,
        state: np.ndarray | None,
        terminated: bool = False,
        truncated: bool = False,
    ) -> None:
        """Store one step: action (A,), reward, margins (G,), and what was observed and believed after it."""
        if not self._observations:
            raise TelosError("memory.add", "a step outside an episode", "begin(observation, state) first")
        self._steps.append((np.array(action), float(reward), np.array(margin)))
        self._observations.append(np.array(observation))
        if state is not None:
            self._states.append(np.array(state))
        self._ended = terminated, truncated

    def close(self, truncated: bool = False) -> None:
        """End the episode under way, if it has any step; truncated, if something else than its last step ended it."""
        if self._steps:
            actions, rewards, margins = zip(*self._steps, strict=True)
            episode = Episode(
                np.stack(self._observations),
                np.stack(actions),
                np.array(rewards),
                np.stack(margins),
                np.stack(self._states) if self._states else NOTHING,
                self._ended[0],
                (self._ended[1] or truncated) and not self._ended[0],
                self._params,
                *self._about,
            )
            self.episodes = [*self.episodes, episode][-self.capacity :]
        self._observations, self._states, self._steps, self._ended = [], [], [], (False, False)

    def windows(self, length: int, stride: int = 1) -> list[Window]:
        """All windows of `length` steps inside finished episodes, `stride` steps apart."""
        return [
            self._window(index, step, length)
            for index, episode in enumerate(self.episodes)
            for step in range(0, len(episode) - length + 1, stride)
        ]

    def recall(self, state: np.ndarray, k: int = 1, scale: np.ndarray | None = None) -> list[Window]:
        """The `k` remembered steps whose beliefs are nearest to `state`, nearest first, as windows of 1 step.

        Args:
            state: (S,), or an observation (F,) where only features were perceived.
            scale: (S,), the unit of distance per dimension; the standard deviation of the remembered ones where None.
        """
        if not self.episodes:
            return []
        states = np.concatenate([episode.believed[:-1] for episode in self.episodes])
        where = [(i, t) for i, episode in enumerate(self.episodes) for t in range(len(episode))]
        unit = states.std(0) if scale is None else scale
        distance = np.linalg.norm((states - state) / np.where(unit > 0, unit, 1.0), axis=1)
        return [self._window(*where[int(index)], 1) for index in np.argsort(distance, kind="stable")[:k]]

    def _window(self, index: int, step: int, length: int) -> Window:
        episode, end = self.episodes[index], step + length
        return Window(
            index,
            step,
            episode.observations[step : end + 1],
            episode.states[step : end + 1],
            episode.actions[step:end],
            episode.rewards[step:end],
            episode.margins[step:end],
        )

    def save(self, path: Path) -> None:
        """Write all finished episodes (safetensors), atomically."""
        tensors: dict[str, torch.Tensor] = {}
        about = []
        for index, episode in enumerate(self.episodes):
            arrays = {name: getattr(episode, name) for name in ARRAYS}
            arrays |= {f"params/{name}": value for name, value in episode.params.items()}
            tensors |= {
                f"{index}/{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in arrays.items()
            }
            names = ("terminated", "truncated", "goal", "actor")
            about.append({name: getattr(episode, name) for name in names} | {"params": list(episode.params)})
        scratch = path.with_name(path.name + ".part")
        save_file(tensors, scratch, {"capacity": str(self.capacity), "episodes": json.dumps(about)})
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read what `save` wrote.

        Raises:
            TelosError: the file is missing, cut short, or not a memory.
        """
        try:
            with safe_open(path, "np") as file:  # pyright: ignore[reportGeneralTypeIssues]
                about = file.metadata() or {}
                memory = cls(int(about["capacity"]))
                for index, said in enumerate(json.loads(about["episodes"])):
                    arrays = {name: file.get_tensor(f"{index}/{name}") for name in ARRAYS}
                    params = {name: file.get_tensor(f"{index}/params/{name}") for name in said.pop("params")}
                    memory.episodes.append(Episode(**arrays, **said, params=params))
            for episode in memory.episodes:
                episode.check()
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise TelosError(f"memory {path}", f"an unreadable file ({error})", "a file written by telos") from None
        return memory
