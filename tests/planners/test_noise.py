import numpy as np
import pytest

from planners.search.noise import Stock, coloured


def draw(beta, count=2000, steps=64, size=2, seed=0):
    return coloured(np.random.default_rng(seed), beta, count, steps, size)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("steps", [2, 3, 31, 64])
def test_every_sample_has_unit_variance(beta, steps):
    noise = draw(beta, count=20_000, steps=steps, size=1)
    assert noise.shape == (20_000, steps, 1)
    assert noise.flags.c_contiguous
    np.testing.assert_allclose(noise.var(0), 1.0, atol=0.06)
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=0.05)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("steps", [63, 64])
def test_power_falls_with_frequency_to_the_beta(beta, steps):
    power = (np.abs(np.fft.rfft(draw(beta, steps=steps), axis=1)) ** 2).mean((0, 2))[1:-1]
    frequency = np.fft.rfftfreq(steps)[1:-1]
    slope = np.polyfit(np.log(frequency), np.log(power), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_series_are_independent_across_candidates_and_actions():
    noise = draw(2.0, count=5000, steps=16, size=2)
    assert abs(np.mean(noise[:, :, 0] * noise[:, :, 1])) < 0.05
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.05


def test_one_step_and_no_candidates():
    assert draw(2.0, steps=1).std() == pytest.approx(1.0, abs=0.05)
    assert draw(2.0, count=0).shape == (0, 64, 2)


def test_only_the_generator_decides():
    assert np.array_equal(draw(2.0, count=3), draw(2.0, count=3))
    assert not np.array_equal(draw(2.0, count=3), draw(2.0, count=3, seed=1))


def test_a_stock_deals_out_everything_once():
    noise = draw(1.0, count=5)
    stock = Stock(noise.copy())
    parts = [stock.take(2), stock.take(0), stock.take(3)]
    assert np.array_equal(np.concatenate(parts), noise)
    with pytest.raises(ValueError, match="1 given, allowed: at most 0"):
        stock.take(1)
