"""Experience in memory, from which training draws windows.

B windows, L steps, F observed features, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.memory.episode import Episode
from envs.errors import TelosError


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows of L consecutive steps, each inside one episode."""

    observations: Tensor  # (B,L+1,F) float32
    actions: Tensor  # (B,L,A) float32, in [-1,1]
    rewards: Tensor  # (B,L) float32
    terminated: Tensor  # (B,L) bool, whether the task ended with the step
    inside: Tensor  # (B,L) float32, 1 for steps of the episode, 0 for those after its termination
    steps: Tensor  # (B,) int64, the ring's index of the first step


@dataclass(frozen=True, eq=False)
class Pairs:
    """B pairs of states of one episode, the second not before the first."""

    before: Tensor  # (B,F) float32, observations
    after: Tensor  # (B,F) float32
    steps: Tensor  # (B,) float32, control steps from one to the other


class Ring:
    """The last `capacity` steps, episode by episode. The oldest episodes make room for new ones."""

    def __init__(self, capacity: int, features: int, action_size: int) -> None:
        """Raises TelosError for a capacity below 1."""
        if capacity < 1:
            raise TelosError("ring.capacity", capacity, "steps >= 1")
        rows = capacity + 1  # of observations: one more than steps for every episode, found when one is added
        self.capacity, self.action_size = capacity, action_size
        self._observations = torch.zeros(rows, features)
        self._actions = torch.zeros(rows, action_size)
        self._rewards = torch.zeros(rows)
        self._ends: list[tuple[int, int, bool]] = []  # first row, steps, terminated; by first row
        self._places = np.zeros((0, 3), int)  # the same, as an array
        self._starts: dict[tuple[int, int], np.ndarray] = {}  # what `starts` gives, until an episode is added
        self._head = 0

    @property
    def steps(self) -> int:
        return sum(steps for _, steps, _ in self._ends)

    @property
    def episodes(self) -> int:
        return len(self._ends)

    def add(self, episode: Episode) -> None:
        """Take an episode in. Raises TelosError where it is longer than the ring, or of another size."""
        steps, rows = len(episode), len(self._rewards)
        if steps >= rows:
            raise TelosError("ring.capacity", self.capacity, f"at least the {steps} steps of an episode")
        if episode.observations.shape[1:] != self._observations.shape[1:]:
            given = f"observations {episode.observations.shape[1:]}"
            raise TelosError("ring", given, f"{tuple(self._observations.shape[1:])}, as the first episode had")
        if self._head + steps + 1 > rows:
            self._head = 0
        first, last = self._head, self._head + steps + 1
        self._ends = [end for end in self._ends if end[0] + end[1] < first or end[0] >= last]
        self._observations[first:last] = torch.from_numpy(np.ascontiguousarray(episode.observations, np.float32))
        self._actions[first : last - 1] = torch.from_numpy(np.ascontiguousarray(episode.actions, np.float32))
        self._rewards[first : last - 1] = torch.from_numpy(np.ascontiguousarray(episode.rewards, np.float32))
        self._ends = sorted([*self._ends, (first, steps, episode.terminated)])
        self._places, self._starts = np.array(self._ends, int), {}
        self._head = last

    def spread(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (F,) of all observations."""
        rows = torch.cat([self._observations[first : first + steps + 1] for first, steps, _ in self._ends]).double()
        return rows.mean(0).float(), rows.std(0, unbiased=False).float()

    def starts(self, length: int, every: int = 1) -> np.ndarray:
        """The rows at which a window of `length` steps may begin: every `every`-th step of an episode.

        After a termination, a window may go on without steps.
        """
        if (length, every) not in self._starts:
            parts = [
                np.arange(first, first + (steps if ended else max(steps - length + 1, 0)), every)
                for first, steps, ended in self._ends
            ]
            self._starts[length, every] = np.concatenate(parts) if parts else np.zeros(0, int)
        return self._starts[length, every]

    def sample(
        self,
        rng: np.random.Generator,
        number: int,
        length: int,
        weight: np.ndarray | None = None,
        every: int = 1,
    ) -> Windows:
        """`number` windows of `length` steps, drawn with replacement from `starts(length, every)`.

        Args:
            weight: one for each of these starts, to which probabilities are proportional; uniform where None.

        Raises:
            TelosError: no episode is that long.
        """
        starts = self.starts(length, every)
        if not len(starts):
            raise TelosError("ring", f"no episode of {length} steps", "a shorter window, or longer episodes")
        if weight is None:
            chosen = rng.integers(0, len(starts), number)
        else:
            sums = np.cumsum(weight)
            chosen = np.minimum(np.searchsorted(sums, rng.random(number) * sums[-1], side="right"), len(starts) - 1)
        return self.windows(starts[chosen], length)

    def pairs(self, rng: np.random.Generator, number: int) -> Pairs:
        """`number` pairs: an episode, a state of it, and a later one, each drawn uniformly. The ring is not empty."""
        first, steps, _ = self._places[rng.integers(0, len(self._places), number)].T
        begins = rng.integers(0, steps + 1)
        ahead = rng.integers(0, steps - begins + 1)
        rows = torch.from_numpy(first + begins)
        elapsed = torch.from_numpy(ahead)
        return Pairs(self._observations[rows], self._observations[rows + elapsed], elapsed.float())

    def windows(self, first: np.ndarray, length: int) -> Windows:
        """The windows (B,) that begin at these rows."""
        begins, steps, ended = self._places[np.searchsorted(self._places[:, 0], first, side="right") - 1].T
        last = begins + steps
        rows = first[:, None] + np.arange(length + 1)
        inside = torch.from_numpy(rows[:, :-1] < last[:, None])
        held = torch.from_numpy(np.minimum(rows, last[:, None]))
        terminated = torch.from_numpy((rows[:, 1:] == last[:, None]) & (ended[:, None] > 0))
        return Windows(
            self._observations[held],
            self._actions[held[:, :-1]] * inside[..., None],
            self._rewards[held[:, :-1]] * inside,
            terminated,
            inside.float(),
            torch.from_numpy(first),
        )
