"""Fields compute their formulas and refuse states that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def test_mlp_maps_any_batch_and_can_read_time():
    field = nj.fields.MLP(dim=3, width=8, depth=2, is_time_dependent=True, key=jax.random.key(0))
    y = jax.random.normal(jax.random.key(1), (4, 5, 3))
    whole = field(0.5, y, None)
    assert whole.shape == y.shape
    np.testing.assert_allclose(whole[2, 3], field(0.5, y[2, 3], None), rtol=1e-5)
    assert not np.allclose(whole, field(0.7, y, None))


def test_mlp_of_no_hidden_layer_is_affine():
    field = nj.fields.MLP(dim=2, width=1, depth=0, key=jax.random.key(0))
    a, b = jnp.array([1.0, 2.0]), jnp.array([-3.0, 0.5])
    np.testing.assert_allclose(field(0.0, a + b) + field(0.0, 0 * a), field(0.0, a) + field(0.0, b), rtol=1e-5)


def test_a_small_final_scale_starts_near_zero():
    keys = {"key": jax.random.key(0)}
    full = nj.fields.MLP(2, 8, 1, **keys)(0.0, jnp.ones(2))
    small = nj.fields.MLP(2, 8, 1, final_scale=0.01, **keys)(0.0, jnp.ones(2))
    np.testing.assert_allclose(small, 0.01 * full, rtol=1e-5)


def test_log_lotka_volterra_conserves_its_invariant(x64):
    field = nj.fields.LogLotkaVolterra(growth=1.1, predation=0.4, reproduction=0.1, death=0.4)
    alpha, beta, delta, gamma = field.rates
    np.testing.assert_allclose(field.rates, [1.1, 0.4, 0.1, 0.4], rtol=1e-6)
    controller = nj.PIController(rtol=1e-9, atol=1e-9)
    x, z = nj.odeint(field, jnp.log(jnp.array([10.0, 5.0])), jnp.linspace(0, 30, 50), controller=controller).ys.T
    invariant = delta * jnp.exp(x) - gamma * x + beta * jnp.exp(z) - alpha * z
    np.testing.assert_allclose(invariant, invariant[0], rtol=1e-7)


def test_hybrid_field_is_the_sum_of_its_parts():
    mechanism = nj.fields.LogLotkaVolterra(1.0, 1.0, 1.0, 1.0)
    residual = nj.fields.MLP(2, 4, 1, key=jax.random.key(0))
    hybrid = nj.fields.HybridField(mechanism, residual)
    y = jnp.array([0.3, -0.2])
    np.testing.assert_allclose(hybrid(0.0, y), mechanism(0.0, y) + residual(0.0, y))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.MLP(2, 4, 1, key=jax.random.key(0))(0.0, jnp.ones(3)), "dim=2.*\\(3,\\)"),
        (lambda: nj.fields.MLP(0, 4, 1, key=jax.random.key(0)), "dim to be an integer of at least 1"),
        (lambda: nj.fields.LogLotkaVolterra(1.0, -1.0, 1.0, 1.0), "predation to be positive"),
        (lambda: nj.fields.LogLotkaVolterra(1.0, 1.0, 1.0, 1.0)(0.0, jnp.ones(3)), "\\(\\.\\.\\., 2\\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
