"""Noise that is white along time, or coloured (power-law, temporally correlated) with a power spectrum of 1/f^beta.

Timmer & König, "On generating power law noise", Astronomy & Astrophysics 300 (1995); used for planning as in iCEM
(Pinneri et al. 2020, section 3.1). beta = 0 is white noise, 1 is pink, 2 is red (a random walk, Brownian).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SHORT = 128  # up to this many steps, one matrix product is faster than a Fourier transform


def coloured(rng: np.random.Generator, beta: float, count: int, steps: int, size: int) -> np.ndarray:
    """Noise (count,steps,size), float64, coloured along `steps`; every sample has mean 0 and variance 1."""
    if beta == 0 or steps < 2:
        return rng.standard_normal((count, steps, size))
    scale = _scale(beta, steps)
    # Time is the last axis during the transform, which is twice as fast. Real and imaginary parts are drawn in pairs.
    white = rng.standard_normal((count * size, len(scale)))
    series = white @ _matrix(beta, steps) if steps <= SHORT else _transform(white * scale, steps)
    series = series.reshape(count, size, steps).transpose(0, 2, 1)
    return np.ascontiguousarray(series)  # later operations on a strided array would be ten times slower


def _transform(spectrum: np.ndarray, steps: int) -> np.ndarray:
    """Inverse Fourier transform of pairs of real and imaginary parts, (…,2(steps//2+1)) -> (…,steps)."""
    return np.fft.irfft(spectrum.view(np.complex128), n=steps)


@lru_cache(maxsize=64)
def _matrix(beta: float, steps: int) -> np.ndarray:
    """Scaling and inverse Fourier transform as one matrix, (2(steps//2+1),steps)."""
    return _transform(np.diag(_scale(beta, steps)), steps)


@lru_cache(maxsize=64)
def _scale(beta: float, steps: int) -> np.ndarray:
    """Standard deviations of the real and imaginary part at each frequency, alternating, (2(steps//2+1),).

    They are normalised so that every sample has unit variance, the constant term included. So `std` means the same for
    every beta. In 1/f^beta the constant term would have infinite power; it gets the power of the lowest frequency, as
    in iCEM.
    """
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    scale = frequency ** (-beta / 2)
    real = np.zeros(len(scale), dtype=bool)  # terms for which `irfft` ignores the imaginary part
    real[0] = True
    real[-1] = steps % 2 == 0
    scale[real] *= np.sqrt(2.0)
    variance = np.where(real, scale**2, 4 * scale**2).sum() / steps**2
    return np.repeat(scale / np.sqrt(variance), 2)


class Stock:
    """Noise that is drawn all at once and handed out in parts.

    Drawing each part between two simulations would be slower, because a simulation empties the CPU's caches.
    """

    def __init__(self, noise: np.ndarray) -> None:
        """
        Args:
            noise: (N,P,A).
        """
        self._noise = noise
        self._taken = 0

    def take(self, count: int) -> np.ndarray:
        """The next part, (count,P,A), as a view that the caller may overwrite.

        Raises ValueError if fewer than `count` are left.
        """
        if count > len(self._noise) - self._taken:
            raise ValueError(f"Stock.take: {count} given, allowed: at most {len(self._noise) - self._taken}")
        self._taken += count
        return self._noise[self._taken - count : self._taken]
