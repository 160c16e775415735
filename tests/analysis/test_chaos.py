"""Exponents of fields whose exponents are known, and when a forecast has ended."""

import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.analysis import lyapunov_exponents, valid_times


def test_the_exponent_of_a_linear_field_is_its_largest_eigenvalue():
    matrix = jnp.array([[0.3, 1.0], [0.0, -1.0]])
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(10))
    exponents = lyapunov_exponents(
        lambda t, y, args: matrix @ y,
        jnp.array([[1e-3, 0.0], [0.0, 1e-3]]),
        integrator,
        interval=0.5,
        num_intervals=20,
        num_skipped=20,
    )
    assert exponents.tolist() == pytest.approx([0.3, 0.3], rel=1e-3)


def test_a_forecast_ends_where_its_scaled_error_first_passes_the_threshold():
    times = np.arange(5.0)
    truth = np.zeros((3, 5, 2))
    predicted = np.zeros((3, 5, 2))
    predicted[0, 2] = [0.0, 1.2]  # its error is 1.2 / 2 / √2 = 0.42
    predicted[1, 3:] = np.nan
    found = valid_times(predicted, truth, times, np.array([1.0, 2.0]))
    assert found.tolist() == [2.0, 3.0, 4.0]
    assert valid_times(predicted, truth, times, np.array([1.0, 2.0]), threshold=0.5).tolist() == [4.0, 3.0, 4.0]
