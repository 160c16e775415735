"""Weights that are functions of time, gates, and states with components more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

BASES = {
    "polynomials": nj.fields.Polynomials(4, span=(-1.0, 3.0)),
    "fourier": nj.fields.Fourier(4, span=(-1.0, 3.0)),
    "constant pieces": nj.fields.PiecewiseConstant(4, span=(-1.0, 3.0)),
    "linear pieces": nj.fields.PiecewiseLinear(4, span=(-1.0, 3.0)),
}


def mlp(dim=2):
    return nj.fields.MLP(dim, 8, 1, key=jax.random.key(0))


@pytest.mark.parametrize("name", BASES)
def test_a_varying_field_starts_as_the_field_itself_at_all_times(name):
    field, y = nj.fields.GalerkinField(mlp(), BASES[name]), jnp.array([0.3, -1.0])
    for t in (-1.0, 0.1, 2.0, 3.0):
        np.testing.assert_allclose(field(t, y), mlp()(t, y), rtol=1e-5)


def test_with_one_constant_function_a_varying_field_is_the_field_itself():
    varying = nj.fields.GalerkinField(mlp(), nj.fields.Polynomials(1))
    assert sum(leaf.size for leaf in jax.tree.leaves(varying)) == sum(leaf.size for leaf in jax.tree.leaves(mlp()))
    ys = [nj.odeint(field, jnp.ones(2), [0.0, 2.0]).ys for field in (varying, mlp())]
    np.testing.assert_allclose(*ys, rtol=1e-5)


def test_the_bases_are_their_functions(x64):
    t = 0.7
    x, s = (t - 1.0) / 2, (t + 1.0) / 4
    legendre = [np.polynomial.legendre.Legendre.basis(k)(x) for k in range(4)]
    np.testing.assert_allclose(BASES["polynomials"](t), legendre, rtol=1e-12)
    waves = [1.0, np.cos(2 * np.pi * s), np.sin(2 * np.pi * s), np.cos(4 * np.pi * s)]
    np.testing.assert_allclose(BASES["fourier"](t), waves, rtol=1e-12)
    np.testing.assert_array_equal(BASES["constant pieces"](t), [0, 1, 0, 0])
    np.testing.assert_array_equal(BASES["constant pieces"](9.0), [0, 0, 0, 1])
    assert BASES["constant pieces"].borders == (0.0, 1.0, 2.0)
    np.testing.assert_allclose(BASES["linear pieces"](t), [0, 1 - 0.275, 0.275, 0], atol=1e-12)


def test_weights_are_the_combination_of_their_coefficients():
    field = nj.fields.GalerkinField(nj.fields.LinearField([[0.0]], offset=[1.0]), nj.fields.Polynomials(2, (0.0, 2.0)))
    moved = jax.tree.map(lambda leaf: leaf.at[1].add(3.0), field)
    # c(t) = 1 + 3 (t - 1), and A(t) = 3 (t - 1).
    np.testing.assert_allclose(moved(2.0, jnp.array([5.0])), 3 * 5.0 + 4.0, rtol=1e-6)
    np.testing.assert_allclose(moved.at(0.0).offset, [-2.0], rtol=1e-6)


def test_pieces_are_solved_over_their_borders(x64):
    # dy/dt = k in the k-th of four parts.
    field = nj.fields.GalerkinField(nj.fields.LinearField([[0.0]], offset=[1.0]), BASES["constant pieces"])
    levels = jnp.arange(4.0)[:, None]
    field = jax.tree.map(lambda leaf: levels if leaf.shape == (4, 1) else leaf, field)
    controller = nj.PIController(rtol=1e-6, atol=1e-6, jump_ts=field.basis.borders)
    sol = nj.odeint(field, jnp.zeros(1), [-1.0, 3.0], controller=controller)
    np.testing.assert_allclose(sol.ys[-1], 6.0, rtol=1e-9)
    assert int(sol.stats.num_rejected) == 0


def test_a_hypernetwork_starts_as_the_field_and_then_varies():
    field, y = nj.fields.HyperField(mlp(), width=3, depth=2, key=jax.random.key(1)), jnp.array([0.3, -1.0])
    np.testing.assert_allclose(field(0.7, y), mlp()(0.7, y), rtol=1e-5)
    gradient = jax.grad(lambda field: jnp.sum(field(0.7, y)))(field)
    stepped = jax.tree.map(lambda a, b: a - 0.1 * b, field, gradient)
    assert float(jnp.abs(stepped(0.1, y) - stepped(0.9, y)).max()) > 1e-3


def test_a_gated_layer_is_its_formula_and_follows_time():
    field, y = nj.fields.ConcatSquashMLP(2, 5, 1, activation=jnp.tanh, key=jax.random.key(0)), jnp.array([[0.3, -1.0]])
    (w1, w2), (b1, b2), (gate1, gate2) = field.weights, field.biases, field.gates

    def layer(x, w, b, gate):
        return (w @ x + b) / (1 + np.exp(-(gate[0] * 0.7 + gate[1]))) + gate[2] * 0.7

    expected = layer(np.tanh(layer(y[0], w1, b1, gate1)), w2, b2, gate2)
    np.testing.assert_allclose(field(0.7, y)[0], expected, rtol=1e-5)
    assert float(jnp.abs(field(0.2, y) - field(0.7, y)).max()) > 1e-3
    frozen = jax.tree.map(lambda leaf: leaf * jnp.array([[0.0], [1.0], [0.0]]) if leaf.shape[0] == 3 else leaf, field)
    np.testing.assert_array_equal(frozen(0.2, y), frozen(0.7, y))


def test_augmentation_by_nothing_is_the_identity_and_by_more_is_padding():
    y = jnp.array([[0.3, -1.0], [2.0, 0.5]])
    plain = nj.fields.AugmentedField(mlp(), dim=2, num_augmented=0)
    np.testing.assert_array_equal(plain.augment(y), y)
    np.testing.assert_array_equal(plain.project(y), y)
    np.testing.assert_array_equal(plain(0.0, y), mlp()(0.0, y))
    field = nj.fields.AugmentedField(mlp(5), dim=2, num_augmented=3)
    start = field.augment(y)
    np.testing.assert_array_equal(start, np.concatenate([y, np.zeros((2, 3))], axis=1))
    sol = nj.odeint(field, start, [0.0, 1.0], save=lambda t, z, args: field.project(z))
    np.testing.assert_array_equal(sol.ys, nj.odeint(mlp(5), start, [0.0, 1.0]).ys[..., :2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.Polynomials(0), "Polynomials: expected num to be an integer of at least 1, got 0"),
        (lambda: nj.fields.Fourier(3, span=(1.0, 1.0)), r"Fourier: expected a span \(t0, t1\) with t0 < t1"),
        (lambda: nj.fields.GalerkinField(mlp(), 3), "a basis such as nj.fields.Polynomials.*got int"),
        (lambda: nj.fields.HyperField(mlp(), 0, key=jax.random.key(0)), "width to be an integer of at least 1, got 0"),
        (lambda: nj.fields.HyperField(mlp(), 2, span=(2.0, 1.0), key=jax.random.key(0)), "with t0 < t1"),
        (lambda: nj.fields.ConcatSquashMLP(2, 4, -1, key=jax.random.key(0)), "depth to be an integer of at least 0"),
        (lambda: nj.fields.ConcatSquashMLP(2, 4, 1, key=jax.random.key(0))(0.0, jnp.ones(3)), r"dim=2.*\(3,\)"),
        (lambda: nj.fields.AugmentedField(mlp(), 2, -1), "num_augmented to be an integer of at least 0, got -1"),
        (lambda: nj.fields.AugmentedField(mlp(), 2, 1)(0.0, jnp.ones(2)), r"has 3 entries, got shape \(2,\)"),
        (lambda: nj.fields.AugmentedField(mlp(), 2, 1).augment(jnp.ones(3)), r"has 2 entries, got shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
