"""The marginal likelihood is exact where Laplace's method is, and its gradient is that of its value."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import node_jax as nj
from node_jax.losses import AbstractConditional, ResidualError, laplace_marginal, laplace_value

_TIMES = jnp.array([0.3, 1.0, 2.0, 3.5, 5.0])


class _Linear(AbstractConditional):
    """y = a + b t, with random effects on both and normal noise."""

    mean: jax.Array
    spread: jax.Array
    noise: ResidualError
    values: jax.Array

    def design(self):
        return jnp.stack([jnp.ones_like(_TIMES), _TIMES], axis=1)

    def predict(self, effects):
        return self.design() @ (self.mean + self.spread @ effects)

    def misfit(self, prediction):
        return self.noise.misfit(prediction, self.values, jnp.zeros(5, bool))

    def information(self, prediction):
        return self.noise.information(prediction, self.values, jnp.zeros(5, bool))


class _Decay(AbstractConditional):
    """y = dose exp(a) exp(-exp(b) t), the later values below their limit."""

    mean: jax.Array
    spread: jax.Array
    noise: ResidualError
    values: jax.Array
    is_censored: jax.Array

    def predict(self, effects):
        a, b = self.mean + self.spread @ effects
        return 8 * jnp.exp(a - jnp.exp(b) * _TIMES)

    def misfit(self, prediction):
        return self.noise.misfit(prediction, self.values, self.is_censored)

    def information(self, prediction):
        return self.noise.information(prediction, self.values, self.is_censored)


def _linear():
    spread = jnp.array([[0.8, 0.0], [-0.3, 0.5]])
    values = jnp.array([1.2, 0.7, 2.9, 3.1, 6.0])
    return _Linear(jnp.array([0.5, 0.9]), spread, ResidualError(additive=0.4), values)


def _decay(noise=None):
    values = jnp.array([7.0, 5.5, 3.2, 1.0, 1.0])
    noise = ResidualError(0.2, 0.15) if noise is None else noise
    is_censored = jnp.array([False, False, False, True, True])
    return _Decay(jnp.array([0.1, -0.8]), jnp.array([[0.3, 0.0], [0.1, 0.4]]), noise, values, is_censored)


@pytest.mark.parametrize("curvature", ["expected", "exact"])
def test_a_linear_mixed_model_has_its_closed_form_and_gradient(x64, curvature):
    def closed(conditional):
        design = conditional.design()
        covariance = design @ conditional.spread @ conditional.spread.T @ design.T
        covariance = covariance + jnp.exp(2 * conditional.noise.log_additive) * jnp.eye(5)
        rest = conditional.values - design @ conditional.mean
        determinant = jnp.linalg.slogdet(2 * jnp.pi * covariance)[1]
        return 0.5 * (rest @ jnp.linalg.solve(covariance, rest) + determinant)

    @eqx.filter_jit
    def value(conditional):
        found = laplace_marginal(conditional, 2, curvature=curvature)
        return found.value, found.posterior.has_converged

    conditional = _linear()
    (found, has_converged), got = eqx.filter_jit(eqx.filter_value_and_grad(value, has_aux=True))(conditional)
    covariance = np.asarray(conditional.design() @ conditional.spread)
    exact = multivariate_normal(conditional.design() @ conditional.mean, covariance @ covariance.T + 0.16 * np.eye(5))
    assert float(found) == pytest.approx(-exact.logpdf(conditional.values), rel=1e-12)
    assert bool(has_converged)
    wanted = eqx.filter_jit(eqx.filter_grad(closed))(conditional)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), got, wanted)


@pytest.mark.parametrize("curvature", ["expected", "exact"])
def test_the_gradient_of_a_nonlinear_censored_model_is_that_of_its_value(x64, curvature):
    conditional = _decay()
    parameters, structure = jax.flatten_util.ravel_pytree(eqx.filter(conditional, eqx.is_inexact_array))
    rest = eqx.filter(conditional, eqx.is_inexact_array, inverse=True)

    def value(parameters):
        found = laplace_marginal(eqx.combine(structure(parameters), rest), 2, curvature=curvature, tolerance=1e-8)
        return found.value

    run, step = jax.jit(jax.value_and_grad(value)), 1e-5
    _, got = run(parameters)
    moved = [(parameters + step * e, parameters - step * e) for e in np.eye(len(parameters))]
    wanted = [(run(up)[0] - run(down)[0]) / (2 * step) for up, down in moved]
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("curvature", ["expected", "exact"])
def test_the_value_alone_is_that_of_the_marginal(x64, curvature):
    conditional = _decay()
    wanted = eqx.filter_jit(laplace_marginal)(conditional, 2, curvature=curvature, tolerance=1e-8)
    got = eqx.filter_jit(laplace_value)(conditional, 2, curvature=curvature, tolerance=1e-8)
    assert float(got.value) == pytest.approx(float(wanted.value), abs=1e-9)
    assert int(got.posterior.num_iterations) == int(wanted.posterior.num_iterations)


def test_laplace_is_near_the_integral_and_the_exact_curvature_nearer_for_a_strongly_nonlinear_model(x64):
    conditional = _decay(ResidualError(additive=0.8))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2))
    logs = jax.vmap(lambda effects: -jnp.sum(conditional.misfit(conditional.predict(effects))))(grid)
    exact = -np.log(np.sum(np.exp(logs) * np.outer(weights, weights).ravel()) / (2 * np.pi))
    run = eqx.filter_jit(laplace_marginal)
    expected, precise = (float(run(conditional, 2, curvature=c).value) for c in ("expected", "exact"))
    assert abs(precise - exact) < 0.05
    assert abs(expected - exact) < 0.3


def test_a_censored_value_counts_by_the_normal_distribution_below_its_limit(x64):
    noise = ResidualError(additive=0.3, proportional=0.2)
    prediction, limits = jnp.array([0.5, 2.0, 40.0]), jnp.array([1.0, 1.0, 1.0])
    scale = np.sqrt(0.09 + 0.04 * np.asarray(prediction) ** 2)
    got = noise.misfit(prediction, limits, jnp.ones(3, bool))
    np.testing.assert_allclose(got, -norm.logcdf((limits - prediction) / scale), rtol=1e-6)
    measured = noise.misfit(prediction, limits, jnp.zeros(3, bool))
    np.testing.assert_allclose(measured, -norm.logpdf(limits, prediction, scale), rtol=1e-12)
    assert np.all(np.asarray(noise.information(prediction, limits, jnp.ones(3, bool))) >= 0)
    slope = jax.grad(lambda f: jnp.sum(noise.misfit(f, limits, jnp.ones(3, bool))))(prediction)
    assert np.isfinite(slope).all()


def test_the_information_of_an_additive_error_is_the_second_derivative(x64):
    noise, values = ResidualError(additive=0.7), jnp.array([1.0, 2.0])
    for is_censored in (jnp.zeros(2, bool), jnp.ones(2, bool)):
        second = jax.vmap(jax.grad(jax.grad(lambda f, y, c: noise.misfit(f, y, c))))
        prediction = jnp.array([0.4, 2.5])
        got = noise.information(prediction, values, is_censored)
        np.testing.assert_allclose(got, second(prediction, values, is_censored), rtol=1e-9)


def test_a_failed_prediction_is_data_and_bad_input_an_error():
    broken = eqx.tree_at(lambda c: c.mean, _linear(), jnp.array([jnp.nan, 0.0]))
    for marginal in (laplace_marginal, laplace_value):
        found = eqx.filter_jit(marginal)(broken, 2)
        assert bool(jnp.isnan(found.value))
        assert not bool(found.posterior.has_converged)
    with pytest.raises(nj.UsageError, match="laplace_value: expected 'expected' or 'exact'"):
        laplace_value(_linear(), 2, curvature="observed")
    with pytest.raises(nj.UsageError, match="at least 1 random effect"):
        laplace_marginal(_linear(), 0)
    with pytest.raises(nj.UsageError, match="a tolerance > 0"):
        laplace_marginal(_linear(), 2, tolerance=0.0)
    with pytest.raises(nj.UsageError, match="an additive or a proportional part"):
        ResidualError()
    with pytest.raises(nj.UsageError, match="proportional > 0 or None"):
        ResidualError(proportional=0.0)
