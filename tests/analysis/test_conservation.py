"""Drift: what is conserved does not move, what is lost is measured, and both are drawn."""

import numpy as np
import pytest

from node_jax.analysis import draw_drift, measure_drift

TIMES = np.linspace(0.0, 2.0, 21)


def _states(decay):
    """Two circles whose radii shrink."""
    radius = np.array([[1.0], [2.0]]) * np.exp(-decay * TIMES)
    return radius[..., None] * np.stack([np.cos(TIMES), np.sin(TIMES)], axis=-1)


def _square(states):
    return np.sum(states**2, axis=-1)


def test_what_is_conserved_does_not_drift_and_what_decays_does_at_its_rate():
    kept, lost = measure_drift(_square, TIMES, _states(0.0)), measure_drift(_square, TIMES, _states(0.01))
    assert kept.largest < 1e-12
    assert abs(kept.rate) < 1e-12
    exact = (np.exp(-0.02 * TIMES) - 1) * np.array([[1.0], [4.0]])
    np.testing.assert_allclose(lost.changes, exact, atol=1e-12)
    assert lost.mean_square == pytest.approx(np.mean(exact**2))
    assert lost.largest == pytest.approx(4 * (1 - np.exp(-0.04)))
    assert lost.rate == pytest.approx(0.02 * np.sqrt(8.5), rel=0.05)


def test_one_solve_is_a_batch_of_one_and_a_picture_is_written(tmp_path):
    drift = measure_drift(_square, TIMES, _states(0.01)[0])
    assert drift.times.shape == drift.changes.shape == (1, 21)
    draw_drift({"kept": measure_drift(_square, TIMES, _states(0.0)), "lost": drift}, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 10_000


def test_a_quantity_without_a_value_for_each_time_is_refused():
    with pytest.raises(ValueError, match=r"one value for each time.*\(2, 21, 2\)"):
        measure_drift(lambda states: states, TIMES, _states(0.0))
