"""Scaling is exact and untrained; baselines are what they say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.models import (
    Forecaster,
    fit_scaling,
    fit_vector_autoregression,
    last_value_forecast,
    partition_trainable,
)


def _scaling(transform="log"):
    series = nj.data.load_hare_lynx()
    return series, fit_scaling(series.times, series.values, 5.0, transform)


@pytest.mark.parametrize("transform", ["log", "standard"])
def test_scaling_goes_there_and_back(transform):
    series, scaling = _scaling(transform)
    z = scaling.state_to_model(series.values)
    np.testing.assert_allclose(scaling.state_from_model(z), series.values, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(z).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaling.time_to_model(series.times[[0, -1]]), [0.0, 18.0])


def test_times_far_from_zero_lose_nothing():
    times = 1.7e9 + np.arange(5.0)
    scaling = fit_scaling(times, np.arange(5.0)[:, None], 1.0, "standard")
    np.testing.assert_array_equal(scaling.time_to_model(times), np.arange(5.0))


def test_scaling_is_saved_with_the_model_and_not_trained():
    _, scaling = _scaling()
    field = nj.fields.MLP(2, 4, 1, key=jax.random.key(0))
    model = Forecaster(field, scaling, nj.Integrator())
    parameters, rest = partition_trainable(model)
    assert len(jax.tree.leaves(parameters)) == len(jax.tree.leaves(eqx.filter(field, eqx.is_array)))
    assert any(leaf is scaling.loc for leaf in jax.tree.leaves(rest))


def test_a_forecaster_speaks_the_users_units():
    _, scaling = _scaling()
    model = Forecaster(nj.fields.LogLotkaVolterra(3.0, 3.0, 3.0, 3.0), scaling, nj.Integrator())
    years = np.array([1900.0, 1901.0, 1905.0])
    sol = nj.check(model(np.array([30e3, 20e3]), years))
    np.testing.assert_allclose(sol.ts, years, rtol=1e-6)
    np.testing.assert_allclose(sol.ys[0], [30e3, 20e3], rtol=1e-4)
    assert (np.asarray(sol.ys) > 0).all()


def test_values_that_have_no_logarithm_are_refused():
    with pytest.raises(nj.UsageError, match=r"positive values.*column 2 at time 1"):
        fit_scaling(np.arange(3.0), np.array([[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]]), 1.0, "log")
    with pytest.raises(nj.UsageError, match="constant column 1"):
        fit_scaling(np.arange(3.0), np.ones((3, 1)), 1.0, "standard")


def test_autoregression_recovers_its_coefficients():
    rng = np.random.default_rng(0)
    first, second = np.array([[1.2, 0.1], [0.0, 0.9]]), np.array([[-0.5, 0.0], [0.1, -0.3]])
    rows = [np.zeros(2), np.zeros(2)]
    for _ in range(4000):
        rows.append(np.array([0.1, -0.2]) + first @ rows[-1] + second @ rows[-2] + 0.01 * rng.standard_normal(2))
    history = np.asarray(rows)
    model = fit_vector_autoregression(history)
    # Akaike's criterion never chooses too few lags on this much data; the coefficients of the rest are near zero.
    assert model.order >= 2
    np.testing.assert_allclose(model.lags[:2], [first, second], atol=0.1)
    np.testing.assert_allclose(model.lags[2:], 0.0, atol=0.1)
    expected = np.array([0.1, -0.2]) + first @ history[-1] + second @ history[-2]
    np.testing.assert_allclose(model.forecast(history, 3)[0], expected, atol=0.01)


def test_last_value_is_repeated():
    np.testing.assert_array_equal(last_value_forecast(np.array([[1.0], [2.0]]), 3), [[2.0]] * 3)


def test_masked_loss_ignores_nan_and_refuses_to_broadcast():
    predicted = jnp.array([1.0, jnp.nan, 3.0])
    mask = jnp.array([True, False, True])
    value, gradient = jax.value_and_grad(nj.losses.masked_mean_squared_error)(predicted, jnp.zeros(3), mask)
    assert float(value) == 5.0
    np.testing.assert_allclose(gradient, [1.0, 0.0, 3.0])
    with pytest.raises(ValueError, match="one shape"):
        nj.losses.masked_mean_squared_error(predicted, jnp.zeros((3, 1)), mask)
