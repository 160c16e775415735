"""Measured derivatives: data that fit together, states that are integrated from them, and the published set-up."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.data import MECHANICAL_SETUPS, Derivatives, integrate_derivatives, simulate_mechanics
from node_jax.errors import UsageError

TIMES = np.linspace(0.0, 3.0, 31)


def _circle(noise):
    phases = TIMES + np.array([[0.0], [1.0]])
    states = np.stack([np.cos(phases), -np.sin(phases)], axis=-1)
    slopes = np.stack([-np.sin(phases), -np.cos(phases)], axis=-1)
    noisy = states + noise * np.random.default_rng(0).standard_normal(states.shape)
    return states, Derivatives(np.tile(TIMES, (2, 1)), noisy, slopes, ("q", "p"))


def test_integrated_derivatives_keep_of_the_noise_its_mean_alone():
    truth, data = _circle(0.1)
    errors = integrate_derivatives(data).states - truth
    np.testing.assert_allclose(errors, np.broadcast_to(errors[:, :1], errors.shape), atol=1e-5)
    expected = (data.states - truth).mean(axis=1)
    np.testing.assert_allclose(errors[:, 0], expected, atol=1e-5)


def test_data_without_noise_stay_as_they_are():
    truth, data = _circle(0.0)
    np.testing.assert_allclose(integrate_derivatives(data).states, truth, atol=1e-5)


@pytest.mark.parametrize("name", ["mass-spring", "two-body"])
def test_simulated_derivatives_are_those_of_the_states_behind_the_noise(name):
    setup = dataclasses.replace(MECHANICAL_SETUPS[name], num_series=3, num_test=1, noise=0.0)
    data = simulate_mechanics(name, setup, num_rollouts=2, seed=1)
    assert data.train.states.shape[:2] == (3, setup.num_times)
    assert data.rollouts.values.shape[:2] == (2, 100)
    slopes = data.system(0.0, jnp.asarray(data.train.states), None)
    np.testing.assert_allclose(data.train.derivatives, slopes, atol=1e-5)
    energy = np.asarray(data.system.energy(jnp.asarray(data.rollouts.values)))
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), atol=1e-5)
    noisy = simulate_mechanics(name, dataclasses.replace(setup, noise=0.2), num_rollouts=2, seed=1)
    np.testing.assert_array_equal(noisy.train.derivatives, data.train.derivatives)
    assert np.std(noisy.train.states - data.train.states) == pytest.approx(0.2, rel=0.15)


def test_published_starts_lie_where_they_should():
    setup = dataclasses.replace(MECHANICAL_SETUPS["pendulum"], num_series=40, num_test=1, num_times=2, noise=0.0)
    distances = np.linalg.norm(simulate_mechanics("pendulum", setup).train.states[:, 0], axis=-1)
    assert 1.3 <= distances.min() < distances.max() <= 2.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Derivatives(TIMES, np.ones((31, 2)), np.ones((31, 2)), ("q", "p")), "times \\(series, time\\)"),
        (lambda: dataclasses.replace(_circle(0.0)[1], names=("q",)), "a name for each of dim"),
        (lambda: dataclasses.replace(_circle(0.0)[1], times=np.full((2, 31), np.nan)), "finite times"),
        (lambda: integrate_derivatives(Derivatives(*_single())), "at least 4 rows"),
        (lambda: simulate_mechanics("three-body", MECHANICAL_SETUPS["pendulum"]), "one of mass-spring.*'three-body'"),
        (lambda: simulate_mechanics("pendulum", MECHANICAL_SETUPS["pendulum"], num_rollouts=0), "0 roll-outs"),
    ],
)
def test_data_that_do_not_fit_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def _single():
    return np.arange(5.0)[:, None], np.ones((5, 1, 1)), np.ones((5, 1, 1)), ("q",)
