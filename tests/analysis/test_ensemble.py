"""An ensemble's intervals hold the share of the truth that they should, where its assumptions hold."""

import numpy as np
import pytest

from node_jax.analysis import Ensemble, Prediction


def _ensemble(num_times, num_members, spread, noise, seed=0):
    random = np.random.default_rng(seed)
    center = random.normal(size=(num_times, 2))
    truth = center + np.sqrt(spread**2 * (1 + 1 / num_members) + noise**2) * random.normal(size=center.shape)
    return Ensemble(
        tuple(
            Prediction(
                np.arange(num_times),
                truth,
                center + spread * random.normal(size=center.shape),
                np.full(2, noise),
                ("a", "b"),
                "1",
            )
            for _ in range(num_members)
        )
    )


def test_intervals_cover_their_share_of_a_truth_drawn_from_the_ensemble():
    ensemble = _ensemble(20_000, 30, spread=1.0, noise=0.5)
    for share in (0.5, 0.9):
        assert ensemble.coverage(share) == pytest.approx(share, abs=0.02)
    assert ensemble.coverage(0.9, with_noise=False) < 0.88


def test_mean_spread_and_scale_are_their_formulas():
    ensemble = _ensemble(5, 4, spread=1.0, noise=0.5)
    values = np.stack([member.values for member in ensemble.members])
    np.testing.assert_allclose(ensemble.mean, values.mean(0))
    np.testing.assert_allclose(ensemble.spread, values.std(0, ddof=1))
    np.testing.assert_allclose(ensemble.scale**2, values.var(0, ddof=1) + 0.25)
    found = ensemble.metrics()
    errors = values - ensemble.members[0].truth
    assert found["rmse_of_mean"] == pytest.approx(np.sqrt(np.mean(errors.mean(0) ** 2)))
    assert found["rmse_of_mean"] <= found["mean_rmse_of_members"]
