"""The short-term memory module: past episodes, read as windows or by similar states."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agent.memory.episode import Episode, Window
from envs.errors import TelosError


class Memory:
    """The last `capacity` episodes, and the one under way."""

    def __init__(self, capacity: int = 10) -> None:
        if capacity < 1:
            raise TelosError("memory.capacity", capacity, "episodes >= 1")
        self.capacity = capacity
        self.episodes: list[Episode] = []
        self._states: list[np.ndarray] = []
        self._steps: list[tuple[np.ndarray, float, np.ndarray]] = []

    def begin(self, state: np.ndarray) -> None:
        """Start an episode at `state` (S,); an episode under way is closed first."""
        self.close()
        self._states = [np.array(state)]

    def add(self, action: np.ndarray, cost: float, margin: np.ndarray, state: np.ndarray) -> None:
        """Store one step: action (A,), cost, margins (G,), and the state (S,) after it."""
        if not self._states:
            raise TelosError("memory.add", "a step outside an episode", "begin(state) first")
        self._steps.append((np.array(action), float(cost), np.array(margin)))
        self._states.append(np.array(state))

    def close(self) -> None:
        """End the episode under way, if it has any step."""
        if self._steps:
            actions, costs, margins = zip(*self._steps, strict=True)
            episode = Episode(np.stack(self._states), np.stack(actions), np.array(costs), np.stack(margins))
            self.episodes = [*self.episodes, episode][-self.capacity :]
        self._states, self._steps = [], []

    def windows(self, length: int, stride: int = 1) -> list[Window]:
        """All windows of `length` steps inside finished episodes, `stride` steps apart."""
        return [
            self._window(index, step, length)
            for index, episode in enumerate(self.episodes)
            for step in range(0, len(episode) - length + 1, stride)
        ]

    def recall(self, state: np.ndarray, k: int = 1, scale: np.ndarray | None = None) -> list[Window]:
        """The `k` remembered steps whose states are nearest to `state` (S,), nearest first, as windows of 1 step.

        Args:
            scale: (S,), the unit of distance per dimension; the standard deviation of the remembered states where None.
        """
        if not self.episodes:
            return []
        states = np.concatenate([episode.states[:-1] for episode in self.episodes])
        where = [(i, t) for i, episode in enumerate(self.episodes) for t in range(len(episode))]
        unit = states.std(0) if scale is None else scale
        distance = np.linalg.norm((states - state) / np.where(unit > 0, unit, 1.0), axis=1)
        return [self._window(*where[int(index)], 1) for index in np.argsort(distance, kind="stable")[:k]]

    def _window(self, index: int, step: int, length: int) -> Window:
        episode, end = self.episodes[index], step + length
        return Window(
            index,
            step,
            episode.states[step : end + 1],
            episode.actions[step:end],
            episode.costs[step:end],
            episode.margins[step:end],
        )

    def save(self, path: Path) -> None:
        """Write all finished episodes (safetensors), atomically."""
        tensors = {
            f"{index}/{part.name}": torch.from_numpy(np.ascontiguousarray(getattr(episode, part.name)))
            for index, episode in enumerate(self.episodes)
            for part in fields(Episode)
        }
        scratch = path.with_name(path.name + ".part")
        save_file(tensors, scratch, {"capacity": str(self.capacity), "episodes": str(len(self.episodes))})
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
                memory.episodes = [
                    Episode(**{part.name: file.get_tensor(f"{index}/{part.name}") for part in fields(Episode)})
                    for index in range(int(about["episodes"]))
                ]
            for episode in memory.episodes:
                episode.check()
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise TelosError(f"memory {path}", f"an unreadable file ({error})", "a file written by telos") from None
        return memory
