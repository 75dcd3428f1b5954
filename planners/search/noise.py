"""Noise along time: white, or coloured with a power spectrum of 1/f^beta.

Timmer & König, "On generating power law noise", Astronomy & Astrophysics 300 (1995); for planning as in iCEM
(Pinneri et al. 2020, section 3.1). beta = 0 is white, 1 pink, 2 a random walk's red.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SHORT = 128  # steps up to which one matrix product is quicker than a Fourier transform


def coloured(rng: np.random.Generator, beta: float, count: int, steps: int, size: int) -> np.ndarray:
    """(count,steps,size) float64: series along `steps`, each sample of mean 0 and variance 1."""
    if beta == 0 or steps < 2:
        return rng.standard_normal((count, steps, size))
    scale = _scale(beta, steps)
    # Time is last while transforming, which is twice as fast; real and imaginary parts are drawn as pairs.
    white = rng.standard_normal((count * size, len(scale)))
    series = white @ _matrix(beta, steps) if steps <= SHORT else _transform(white * scale, steps)
    series = series.reshape(count, size, steps).transpose(0, 2, 1)
    return np.ascontiguousarray(series)  # later passes are ten times slower over strides


def _transform(spectrum: np.ndarray, steps: int) -> np.ndarray:
    """(…,2(steps//2+1)) pairs of real and imaginary part -> (…,steps)."""
    return np.fft.irfft(spectrum.view(np.complex128), n=steps)


@lru_cache(maxsize=64)
def _matrix(beta: float, steps: int) -> np.ndarray:
    """(2(steps//2+1),steps): what scaling and transforming make of each white number."""
    return _transform(np.diag(_scale(beta, steps)), steps)


@lru_cache(maxsize=64)
def _scale(beta: float, steps: int) -> np.ndarray:
    """(2(steps//2+1),): standard deviations of real and imaginary part, alternating, at each frequency.

    Normalised to unit variance of every sample, the constant term included, so that `std` means the same for
    every beta. The constant term has infinite power in 1/f^beta: it gets the lowest frequency's, as in iCEM.
    """
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    scale = frequency ** (-beta / 2)
    real = np.zeros(len(scale), dtype=bool)  # terms without an imaginary part, which `irfft` ignores there
    real[0] = True
    real[-1] = steps % 2 == 0
    scale[real] *= np.sqrt(2.0)
    variance = np.where(real, scale**2, 4 * scale**2).sum() / steps**2
    return np.repeat(scale / np.sqrt(variance), 2)


class Stock:
    """Noise that was made at once and is dealt out in parts.

    Simulations leave the caches cold: made part by part between them, it costs more.
    """

    def __init__(self, noise: np.ndarray) -> None:
        """
        Args:
            noise: (N,P,A).
        """
        self._noise = noise
        self._taken = 0

    def take(self, count: int) -> np.ndarray:
        """The next ones, (count,P,A), for the caller to write into.

        Raises ValueError where so many are not left.
        """
        if count > len(self._noise) - self._taken:
            raise ValueError(f"Stock.take: {count} given, allowed: at most {len(self._noise) - self._taken}")
        self._taken += count
        return self._noise[self._taken - count : self._taken]
