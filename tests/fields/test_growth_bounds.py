"""Fields that bound what a solution does keep their law for any weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.fields.contractive import spectral_norm_bound
from tests.adjoints.cases import compiled


def grown(field, factor):
    """The same field with all its floating-point arrays multiplied, biases drawn too."""

    def scale(path, leaf):
        draw = jax.random.normal(jax.random.key(len(jax.tree_util.keystr(path))), leaf.shape, leaf.dtype)
        return factor * (leaf + draw) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree_util.tree_map_with_path(scale, field)


@pytest.mark.parametrize("is_time_dependent", [False, True])
def test_two_solutions_approach_at_the_stated_rate(is_time_dependent, x64):
    options = {"rate": 0.5, "lipschitz": 3.0, "is_time_dependent": is_time_dependent}
    field = nj.fields.ContractiveField(4, 16, 2, key=jax.random.key(0), **options)
    starts = 2.0 * jax.random.normal(jax.random.key(1), (2, 8, 4))
    ts = jnp.linspace(0.0, 4.0, 9)
    controller = nj.PIController(rtol=1e-9, atol=1e-11)
    solve = compiled(lambda field: nj.odeint(field.normalize(), starts, ts, controller=controller).ys)
    for factor in (1.0, 30.0):
        ys = solve(grown(field, factor))
        distance = jnp.linalg.norm(ys[:, 0] - ys[:, 1], axis=-1)
        ratio = np.asarray(distance[1:] / distance[:-1])
        assert (ratio <= np.exp(-0.5 * 0.5) * (1 + 1e-6)).all()
        assert (ratio > 0).all()


def test_weights_within_the_bound_are_used_as_they_are():
    field = nj.fields.ContractiveField(2, 8, 1, rate=0.5, lipschitz=1e4, key=jax.random.key(0))
    y = jnp.array([0.3, -0.8])
    np.testing.assert_allclose(field(0.0, y), field.network(0.0, y) - (0.5 + 1e4) * y, rtol=1e-6)
    np.testing.assert_array_equal(field(0.0, y), field.normalize()(0.0, y))


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (3, 40), (40, 3)])
def test_the_bound_is_not_below_the_spectral_norm_and_close_to_it(shape, x64):
    for scale in (1e-30, 1.0, 1e30):
        weight = scale * jax.random.normal(jax.random.key(0), shape)
        ratio = spectral_norm_bound(weight) / jnp.linalg.norm(weight, 2)
        assert 1 - 1e-12 <= ratio <= min(shape) ** (1 / 64) + 1e-12
    # Equal singular values are the worst case.
    assert spectral_norm_bound(jnp.eye(64)) == pytest.approx(64 ** (1 / 64))


def test_weights_of_zero_and_huge_ones_have_a_finite_gradient():
    field = nj.fields.ContractiveField(2, 8, 1, rate=0.5, lipschitz=1.0, key=jax.random.key(0))

    @eqx.filter_jit
    def slope(factor):
        scaled = jax.tree.map(lambda leaf: factor * leaf if eqx.is_inexact_array(leaf) else leaf, field)
        return eqx.filter_grad(lambda field: jnp.sum(field(0.0, jnp.ones(2)) ** 2))(scaled)

    for factor in (0.0, 1e-25, 1e25):
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope(jnp.asarray(factor))))


def test_the_gradient_of_the_normalized_field_is_that_of_finite_differences(x64):
    field = nj.fields.ContractiveField(2, 6, 1, rate=0.5, lipschitz=0.5, key=jax.random.key(0))
    weights, rest = eqx.partition(field, eqx.is_inexact_array)
    direction = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape), weights)

    @jax.jit
    def value(step):
        moved = eqx.combine(jax.tree.map(lambda w, d: w + step * d, weights, direction), rest)
        return jnp.sum(moved(0.0, jnp.array([0.4, -0.2])) ** 2)

    slope = float(jax.grad(value)(0.0))
    assert slope == pytest.approx(float(value(1e-6) - value(-1e-6)) / 2e-6, rel=1e-7)
    assert abs(slope) > 1e-3


def test_a_bounded_solution_never_leaves_its_box():
    inner = grown(nj.fields.MLP(4, 16, 2, key=jax.random.key(0)), 30.0)
    field = nj.fields.BoundedField(inner, decay=0.5, limit=2.0)
    y0 = jnp.array([[0.0, 0.1, 3.9, -4.0], [7.0, -9.0, 0.2, 0.0]])
    ts = jnp.linspace(0.0, 100.0, 400)
    controller = nj.ConstantStep(0.25)
    ys = np.asarray(compiled(lambda field: nj.odeint(field, y0, ts, solver=nj.RK4(), controller=controller).ys)(field))
    bound = np.maximum(np.abs(y0), 4.0)
    assert (np.abs(ys) <= bound * (1 + 1e-5)).all()
    # The bound is not far, and the network inside is not small.
    assert np.abs(ys[-1]).max() > 3.0
    assert np.abs(inner(0.0, ys[-1])).max() > 1e3


def test_a_bounded_field_hardly_changes_a_small_one():
    y = {"a": jnp.array([0.1, -0.2]), "b": jnp.array(0.3)}
    field = nj.fields.BoundedField(lambda t, y, args: jax.tree.map(jnp.sin, y), decay=0.1, limit=100.0)
    expected = jax.tree.map(lambda leaf: jnp.sin(leaf) - 0.1 * leaf, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), field(0.0, y), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.BoundedField(jnp.sin, decay=0.0, limit=1.0), "decay to be positive, got 0.0"),
        (lambda: nj.fields.BoundedField(jnp.sin, decay=1.0, limit=-1.0), "limit to be positive, got -1.0"),
        (
            lambda: nj.fields.ContractiveField(2, 4, 1, rate=0.0, lipschitz=1.0, key=jax.random.key(0)),
            "rate to be positive and finite, got 0.0",
        ),
        (
            lambda: nj.fields.ContractiveField(2, 4, 1, rate=1.0, lipschitz=float("inf"), key=jax.random.key(0)),
            "lipschitz to be positive and finite, got inf",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
