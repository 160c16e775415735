"""Splines find states, slopes and the noise; what cannot be smoothed is refused."""

import numpy as np
import pytest

import node_jax as nj


def _uneven(num, seed=0):
    return np.sort(np.random.default_rng(seed).uniform(0.0, 6.0, num))


def test_slopes_of_a_known_function_are_close_at_uneven_times():
    times = _uneven(120)
    smoothed = nj.data.smooth(times, np.stack([np.sin(times), np.cos(2 * times)], 1))
    assert np.abs(smoothed.states[:, 0] - np.sin(times)).max() < 1e-4
    assert np.abs(smoothed.slopes[:, 0] - np.cos(times)).max() < 1e-2
    inner = slice(5, -5)
    assert np.abs(smoothed.slopes[inner, 1] + 2 * np.sin(2 * times[inner])).max() < 1e-2
    assert smoothed.noise.max() < 1e-3


def test_slopes_of_noisy_data_are_better_than_differences_and_the_noise_is_found():
    times = np.linspace(0.0, 6.0, 150)
    truth = np.stack([np.sin(times), 3 * np.cos(times)], 1)
    slopes = np.stack([np.cos(times), -3 * np.sin(times)], 1)
    noise = np.array([0.05, 0.1])
    values = truth + noise * np.random.default_rng(1).standard_normal(truth.shape)
    smoothed = nj.data.smooth(times, values)
    error = np.sqrt(np.mean((smoothed.slopes - slopes) ** 2, axis=0))
    raw = np.sqrt(np.mean((np.gradient(values, times, axis=0) - slopes) ** 2, axis=0))
    assert (error < raw / 5).all()
    assert (np.sqrt(np.mean((smoothed.states - truth) ** 2, axis=0)) < noise / 2).all()
    np.testing.assert_allclose(smoothed.noise, noise, rtol=0.2)


def test_missing_values_and_padding_do_not_count():
    times = _uneven(60)
    values = np.sin(times)[:, None]
    with_gaps = values.copy()
    with_gaps[7:10] = np.nan
    several = nj.data.smooth(
        np.stack([np.append(times, [times[-1]] * 2), np.append(times, [7.0, 8.0])]),
        np.stack([np.append(with_gaps, [[np.nan]] * 2, 0), np.append(values, np.sin([[7.0], [8.0]]), 0)]),
    )
    assert several.states.shape == several.slopes.shape == (2, 62, 1)
    assert several.noise.shape == (2, 1)
    alone = nj.data.smooth(times, with_gaps)
    np.testing.assert_allclose(several.states[0, :60], alone.states)
    np.testing.assert_allclose(several.slopes[0, 60:], np.broadcast_to(alone.slopes[-1], (2, 1)))
    assert np.abs(alone.states - values).max() < 1e-2


def test_the_penalty_goes_with_the_unit_of_time_and_zero_interpolates():
    times, values = _uneven(40), np.random.default_rng(2).standard_normal((40, 1))
    np.testing.assert_allclose(nj.data.smooth(times, values, penalty=0.0).states, values, atol=1e-8)
    short = nj.data.smooth(times, values, penalty=0.1)
    long = nj.data.smooth(10 * times, values, penalty=100.0)
    np.testing.assert_allclose(short.states, long.states, atol=1e-8)
    np.testing.assert_allclose(short.slopes, 10 * long.slopes, atol=1e-7)


@pytest.mark.parametrize(
    ("times", "values", "message"),
    [
        (np.arange(4.0), np.ones((4, 1)), "at least 5 measurements"),
        (np.arange(6.0), np.array([[0.0], [np.nan], [1.0], [2.0], [np.nan], [3.0]]), "got 4 of quantity 1"),
        (np.array([0.0, 2.0, 1.0, 3.0, 4.0]), np.ones((5, 1)), "strictly increasing times"),
        (np.arange(5.0), np.ones(5), r"values\[:, None\]"),
        (np.arange(5.0), np.array([[1.0], [np.inf], [1.0], [1.0], [1.0]]), "finite values"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(times, values, message):
    with pytest.raises(nj.UsageError, match=message):
        nj.data.smooth(times, values)


def test_a_negative_penalty_is_refused():
    with pytest.raises(nj.UsageError, match="penalty of at least 0"):
        nj.data.smooth(np.arange(5.0), np.ones((5, 1)), penalty=-1.0)
