"""Estimates come with the intervals of theory, which hold the truth as often as they say."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

import node_jax as nj
from node_jax.analysis import identify
from node_jax.fields import DampedPendulum, HybridField

TIMES = np.linspace(0.0, 6.0, 13)
NOISE = 0.05


def line(data, parameters):
    return parameters["start"] + parameters["slope"] * TIMES - data


def swing(adjoint, data, field):
    """Residuals of a pendulum that starts at a known place."""
    steps = {"solver": nj.RK4(), "controller": nj.FixedSteps(1), "adjoint": adjoint}
    return nj.odeint(field, jnp.array([1.2, 0.0]), TIMES, **steps).ys - data


@pytest.fixture(scope="module")
def pendulum():
    """A pendulum and its trajectory without noise."""
    with jax.enable_x64(True):
        field = DampedPendulum(6.0, 0.2)
        yield field, np.asarray(swing(nj.ForwardMode(), 0.0, field))


def start():
    return {"start": jnp.zeros(()), "slope": jnp.zeros(())}


def test_a_linear_fit_has_the_covariance_and_intervals_of_the_textbook(x64):
    data = 1.0 + 0.5 * TIMES + NOISE * np.random.default_rng(0).standard_normal(len(TIMES))
    found = identify(Partial(line, data), start())
    expected = stats.linregress(TIMES, data)
    at = [found.names.index(name) for name in ("start", "slope")]
    np.testing.assert_allclose(found.estimates[at], [expected.intercept, expected.slope], rtol=1e-8)
    np.testing.assert_allclose(found.standard_errors[at], [expected.intercept_stderr, expected.stderr], rtol=1e-8)
    half = stats.t.ppf(0.95, len(TIMES) - 2) * expected.stderr
    np.testing.assert_allclose(found.intervals(0.9)[at[1]], expected.slope + half * np.array([-1, 1]), rtol=1e-8)
    assert found.degrees_of_freedom == pytest.approx(len(TIMES) - 2)
    known = identify(Partial(line, data), start(), noise=NOISE)
    design = np.stack([np.ones_like(TIMES), TIMES], 1)
    np.testing.assert_allclose(known.covariance[np.ix_(at, at)], NOISE**2 * np.linalg.inv(design.T @ design), rtol=1e-8)
    half = stats.norm.ppf(0.95) * known.standard_errors
    np.testing.assert_allclose(np.diff(known.intervals(0.9))[:, 0], 2 * half, rtol=1e-8)


def test_intervals_through_the_solver_hold_the_truth_as_often_as_they_say(pendulum):
    field, truth = pendulum
    draws = NOISE * np.random.default_rng(0).standard_normal((80, *truth.shape))
    with jax.enable_x64(True):
        all_found = [identify(Partial(swing, nj.ForwardMode(), truth + draw), field) for draw in draws]
    expected = [2 * np.pi / 6, 0.2]
    estimates = np.array([found.estimates for found in all_found])
    intervals = np.array([found.intervals(0.9) for found in all_found])
    coverage = np.mean((intervals[..., 0] < expected) & (expected < intervals[..., 1]), axis=0)
    # Two standard errors of a share of 0.9 in 80 draws are 0.067.
    assert (np.abs(coverage - 0.9) < 0.068).all()
    errors = np.mean([found.standard_errors for found in all_found], axis=0)
    np.testing.assert_allclose(errors, estimates.std(axis=0, ddof=1), rtol=0.2)
    assert np.mean([found.noise for found in all_found]) == pytest.approx(NOISE, rel=0.04)


def test_rows_and_columns_of_the_jacobian_give_the_same(pendulum):
    field, truth = pendulum
    with jax.enable_x64(True):
        data = truth + NOISE * np.random.default_rng(1).standard_normal(truth.shape)
        forward = identify(Partial(swing, nj.ForwardMode(), data), field)
        reverse = identify(Partial(swing, nj.CheckpointedAdjoint(), data), field)
    np.testing.assert_allclose(forward.estimates, reverse.estimates, rtol=1e-6)
    np.testing.assert_allclose(forward.covariance, reverse.covariance, rtol=1e-4)
    assert forward.has_converged
    assert reverse.has_converged


def test_names_in_physical_units_follow_by_the_delta_method(x64):
    field = nj.fields.LogLotkaVolterra(1.1, 0.9, 0.8, 1.2)
    states = np.random.default_rng(0).normal(size=(20, 2))
    slopes = np.asarray(field(0.0, states)) + 0.1 * np.random.default_rng(1).normal(size=(20, 2))

    def residuals(field):
        return field(0.0, states) - slopes

    rates = identify(residuals, field)
    logs = identify(residuals, field, named=lambda f: {str(i): f.log_rates[i] for i in range(4)})
    assert rates.names == ("growth", "predation", "reproduction", "death")
    np.testing.assert_allclose(rates.estimates, np.exp(logs.estimates), rtol=1e-10)
    expected = rates.estimates[:, None] * logs.covariance * rates.estimates
    np.testing.assert_allclose(rates.covariance, expected, rtol=1e-8)
    np.testing.assert_allclose(np.diag(rates.correlation), 1.0)
    # The spectrum is that of relative changes.
    np.testing.assert_allclose(np.sort(rates.spectrum), np.linalg.eigvalsh(np.linalg.inv(logs.covariance)), rtol=1e-6)


def test_what_the_data_do_not_determine_is_said_and_left_open(x64):
    data = 6.0 * TIMES + NOISE * np.random.default_rng(0).standard_normal(len(TIMES))

    def residuals(p):
        return p["a"] * p["b"] * TIMES + p["c"] - data

    with pytest.warns(UserWarning, match="do not determine a, b: other parameters can make up"):
        found = identify(residuals, {"a": jnp.array(2.0), "b": jnp.array(2.5), "c": jnp.array(0.1)})
    assert np.isinf(found.standard_errors[:2]).all()
    assert np.isfinite(found.standard_errors[2])
    assert found.spectrum[-1] == 0.0 < found.spectrum[-2]
    assert "not determined" in found.to_markdown()
    assert found.degrees_of_freedom == pytest.approx(len(TIMES) - 2)
    product = identify(residuals, found.parameters, named=lambda p: {"product": p["a"] * p["b"]}, refine=False)
    assert product.standard_errors[0] < 0.02


def test_a_free_network_widens_intervals_and_a_penalty_narrows_them_again(x64):
    known = HybridField(DampedPendulum(6.0), nj.fields.MLP(2, 3, 1, activation=jnp.tanh, key=jax.random.key(0)))
    states = np.random.default_rng(0).normal(size=(40, 2))
    slopes = np.asarray(DampedPendulum(6.0, 0.2)(0.0, states))
    slopes = slopes + 0.05 * np.random.default_rng(1).normal(size=slopes.shape)

    def residuals(field):
        return field(0.0, states) - slopes

    def penalty(field):
        return 0.3 * field.residual(0.0, states)

    free = identify(residuals, known, penalty=penalty)
    assert free.names == ("omega0",)
    assert free.has_converged
    network = free.parameters.residual
    fixed = identify(lambda known: residuals(HybridField(known, network)), free.parameters.mechanism)
    assert free.standard_errors[0] > 1.5 * fixed.standard_errors[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = identify(residuals, free.parameters, refine=False, noise=0.05)
    assert alone.standard_errors[0] > 1.5 * free.standard_errors[0]


def test_a_penalty_is_prior_knowledge_in_units_of_the_noise(x64):
    data = np.array([1.0, 1.2, 0.8, 1.1])

    def residuals(p):
        return p["a"] + p["b"] - data

    found = identify(residuals, {"a": jnp.zeros(()), "b": jnp.zeros(())}, penalty=lambda p: 2.0 * p["b"], noise=0.1)
    # F = ((4, 4), (4, 4 + 4)) / σ².
    np.testing.assert_allclose(found.covariance, 0.01 * np.linalg.inv([[4.0, 4.0], [4.0, 8.0]]), rtol=1e-6)
    np.testing.assert_allclose(found.estimates, [data.mean(), 0.0], atol=1e-7)


def test_an_estimate_beside_the_optimum_is_told(x64):
    data = 1.0 + 0.5 * TIMES + NOISE * np.random.default_rng(0).standard_normal(len(TIMES))
    with pytest.warns(UserWarning, match="not at the optimum"):
        found = identify(Partial(line, data), start(), refine=False)
    assert not found.has_converged
    refined = identify(Partial(line, data), start())
    np.testing.assert_allclose(found.estimates + found.remaining * found.standard_errors, refined.estimates, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: identify(lambda p: p, {"a": 1}), "floating-point arrays among the parameters"),
        (lambda: identify(lambda p: p["a"] * np.array([1.0, np.nan]), {"a": jnp.ones(())}), "finite residuals"),
        (lambda: identify(lambda p: p["a"][None], {"a": jnp.ones(())}), "more data than what the fit uses up"),
        (lambda: identify(lambda p: p, {"a": jnp.ones(3)}, derivative="central"), "auto, forward or reverse"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(nj.UsageError, match=message):
        call()


def test_a_level_is_a_share():
    found = identify(lambda p: p["a"] - jnp.arange(3.0), {"a": jnp.ones(())}, noise=1.0)
    with pytest.raises(nj.UsageError, match="level in"):
        found.intervals(90)
