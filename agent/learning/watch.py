"""What tells collapse, and how far a model can be trusted: measured on held-out episodes, at every evaluation.

E episodes, T steps, D latent size, O signal components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.memory.episode import Episode, unflat
from envs.errors import TelosError
from envs.physics.batch import BatchPhysics
from envs.requests import Request
from worldmodels.jepa.model import Probe
from worldmodels.jepa.networks import JepaParams, Networks

RIDGE = 1e-3  # of the probe, in units of the latents' variance
USABLE = 0.1  # a rollout is usable while its error is below this share of the latents' spread, and below the copy's
HORIZONS = (1, 2, 3, 5, 10, 15, 25, 50, 75, 100)  # control steps
LEAST_RANK, LEAST_R2 = 1.5, 0.5  # below which an alarm sounds
LEAST_STD = {"plain": 0.05, "normalised": 0.05, "simnorm": 0.005}  # the same, by the form of the latent


@dataclass(frozen=True)
class Health:
    """The measurements of one moment of training."""

    std_least: float  # of the latent's dimensions, absolute
    std_mean: float
    rank: float  # effective rank of the latents: RankMe (Garrido et al. 2023), eq. 1
    probe_r2: Mapping[str, float]  # signal -> R² of a linear probe, on states that the probe was not fitted to
    error: Mapping[int, float]  # horizon -> mean squared error of rolled-out latents over their variance
    copy_error: Mapping[int, float]  # the same, if nothing changed
    usable: int  # the usable rollout horizon, control steps

    def alarms(self, params: JepaParams) -> list[str]:
        """What is wrong, each with its likely cause; nothing where all is well.

        Args:
            params: of the networks; an encoder that does not learn cannot collapse.
        """
        found, learned = [], params.encoder == "learned"
        if learned and self.std_least < LEAST_STD[params.latent_form]:
            cause = "nothing keeps latents apart; losses.variance, or losses.sigreg, does"
            found.append(f"the latents collapse: smallest standard deviation {self.std_least:.2g} ({cause})")
        if learned and self.rank < LEAST_RANK:
            cause = "dimensions repeat each other; losses.covariance, or losses.sigreg, keeps them different"
            found.append(f"the latents use {self.rank:.1f} dimensions ({cause})")
        lowest = min(self.probe_r2, key=lambda name: self.probe_r2[name], default=None)
        if lowest is not None and self.probe_r2[lowest] < LEAST_R2:
            cause = "the latents forget it; losses.inverse makes them keep what actions change"
            found.append(f"{lowest} cannot be read off the latents: R² {self.probe_r2[lowest]:.2f} ({cause})")
        return found


def health(networks: Networks, episodes: Sequence[Episode], signals: Mapping[str, Tensor]) -> tuple[Health, Probe]:
    """Measure the networks on held-out episodes, and fit a probe to them.

    Args:
        episodes: E of them, as long as each other or not.
        signals: name -> values at all states of all episodes, one after the other, (ΣT+1,components).
    """
    with torch.inference_mode():
        seen = [torch.from_numpy(np.ascontiguousarray(e.observations, np.float32)) for e in episodes]
        paths = [networks.encode(rows) for rows in seen]
        latents = torch.cat(paths).double()
        spread = latents.var(0).mean()
        error, copies = _errors(networks, paths, episodes, spread)
    probe, r2 = _probed(latents, [len(path) for path in paths], signals)
    std = latents.std(0)
    usable = 0
    for horizon in error:
        if not (error[horizon] < USABLE and error[horizon] < copies[horizon]):
            break
        usable = horizon
    return Health(float(std.min()), float(std.mean()), _rank(latents), r2, error, copies, usable), probe


def signals_of(physics: BatchPhysics, episodes: Sequence[Episode], requests: Sequence[Request]) -> dict[str, Tensor]:
    """The named signals at all recorded raw states of the episodes, one after the other, (ΣT+1,components).

    Raises:
        TelosError: a state that this model cannot be in.
    """
    rows: dict[str, list[Tensor]] = {one.name: [] for one in requests}
    for episode in episodes if requests else ():
        physics.set_params(unflat(episode.params))
        for state in episode.states:
            found = physics.look(np.ascontiguousarray(state))
            if found is None:
                raise TelosError("store", "a recorded state that cannot be simulated", "states of this task's model")
            for name, values in rows.items():
                values.append(found.state[name][0, 0])
    return {name: torch.stack(values) for name, values in rows.items()}


def _errors(
    networks: Networks, paths: Sequence[Tensor], episodes: Sequence[Episode], spread: Tensor
) -> tuple[dict[int, float], dict[int, float]]:
    longest = max(len(episode) for episode in episodes)
    horizons = [h for h in HORIZONS if h <= longest]
    sums = np.zeros((2, len(horizons)))
    counts = np.zeros(len(horizons))
    for path, episode in zip(paths, episodes, strict=True):
        actions = torch.from_numpy(np.ascontiguousarray(episode.actions, np.float32))
        starts = range(0, len(episode) - horizons[0] + 1, max(horizons[0], len(episode) // 8))
        for start in starts:
            length = min(horizons[-1], len(episode) - start)
            rolled = networks.roll(path[start : start + 1], actions[None, start : start + length]).mean(0)[0]
            real = path[start + 1 : start + length + 1]
            for column, horizon in enumerate(h for h in horizons if h <= length):
                sums[0, column] += float((rolled[horizon - 1] - real[horizon - 1]).square().mean())
                sums[1, column] += float((path[start] - real[horizon - 1]).square().mean())
                counts[column] += 1
    found = sums / np.maximum(counts, 1) / max(float(spread), 1e-12)
    return tuple(dict(zip(horizons, row.tolist(), strict=True)) for row in found)  # type: ignore[return-value]


def _rank(latents: Tensor) -> float:
    values = torch.linalg.svdvals(latents - latents.mean(0)) + 1e-12
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _probed(latents: Tensor, lengths: Sequence[int], signals: Mapping[str, Tensor]) -> tuple[Probe, dict[str, float]]:
    """A ridge regression fitted to the first half of the episodes, or of a single one's states; its R² on the rest."""
    sizes = {name: values.shape[1] for name, values in signals.items()}
    probe = Probe(latents.shape[1], sizes)
    if not sizes:
        return probe, {}
    half = sum(lengths[: len(lengths) // 2]) or len(latents) // 2
    wanted = torch.cat(list(signals.values()), 1).double()
    mean, centre = latents[:half].mean(0), wanted[:half].mean(0)
    x = latents[:half] - mean
    ridge = RIDGE * len(x) * x.var(0).mean().clamp(min=1e-12) * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ (wanted[:half] - centre))
    probe.weight.copy_(weight)
    probe.bias.copy_(centre - mean @ weight)
    told = probe(latents[half:].float())
    r2 = {}
    for name, values in signals.items():
        real = values[half:].double()
        left = (real - told[name]).square().sum()
        r2[name] = float(1 - left / (real - real.mean(0)).square().sum().clamp(min=1e-12))
    return probe, r2
