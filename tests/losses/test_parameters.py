"""Penalties on parameters are their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.losses import l1_norm, l2_norm_squared, spectral_excess, spectral_norms

FIELD = nj.fields.MLP(dim=2, width=8, depth=2, key=jax.random.key(0))
TREE = {
    "w": jnp.array([[1.0, -2.0], [0.5, 0.0]]),
    "b": jnp.array([3.0, -4.0]),
    "n": 7,
    "i": jnp.arange(4).reshape(2, 2),
}


def test_norms_take_weight_matrices_or_all_arrays():
    assert float(l1_norm(TREE)) == 3.5
    assert float(l1_norm(TREE, min_ndim=0)) == 10.5
    assert float(l2_norm_squared(TREE)) == 5.25
    assert float(l2_norm_squared(TREE, min_ndim=1)) == 30.25
    np.testing.assert_allclose(l1_norm(FIELD), sum(np.abs(w).sum() for w in FIELD.weights), rtol=1e-6)


def test_spectral_norms_are_the_largest_singular_values():
    expected = [np.linalg.norm(np.asarray(w), 2) for w in FIELD.weights]
    np.testing.assert_allclose(spectral_norms(FIELD), expected, rtol=1e-5)
    kernel = jax.random.normal(jax.random.key(1), (4, 3, 2))
    np.testing.assert_allclose(spectral_norms(kernel), [np.linalg.norm(np.reshape(kernel, (4, 6)), 2)], rtol=1e-5)
    np.testing.assert_allclose(spectral_excess(FIELD, 1.2), sum(max(s - 1.2, 0) ** 2 for s in expected), rtol=1e-4)
    assert float(spectral_excess(FIELD, 100.0)) == 0


def test_penalties_have_the_gradients_of_their_formulas():
    np.testing.assert_array_equal(jax.grad(l1_norm)(TREE["w"]), np.sign(TREE["w"]))
    np.testing.assert_array_equal(jax.grad(l2_norm_squared)(TREE["w"]), 2 * TREE["w"])
    weight = FIELD.weights[1]
    u, s, vt = np.linalg.svd(np.asarray(weight))
    expected = 2 * (s[0] - 0.5) * np.outer(u[:, 0], vt[0])
    np.testing.assert_allclose(jax.grad(spectral_excess)(weight, 0.5), expected, atol=1e-4)
    # Equal singular values, and none above the bound.
    assert np.isfinite(jax.grad(spectral_excess)(2 * jnp.eye(3))).all()
    np.testing.assert_array_equal(jax.grad(spectral_excess)(jnp.zeros((2, 2))), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: l1_norm({"b": jnp.ones(3)}), "min_ndim=0"),
        (lambda: l2_norm_squared({"n": 3}, min_ndim=0), "floating-point arrays"),
        (lambda: spectral_norms(jnp.ones(3)), "at least 2 axes"),
        (lambda: spectral_norms(jnp.ones((0, 3))), "with elements"),
        (lambda: spectral_excess(FIELD, 0.0), "bound to be positive"),
    ],
)
def test_a_penalty_on_nothing_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
