"""Fields that bound what a solution does keep their law for any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def grown(field, factor):
    """The same field with all its floating-point arrays multiplied, biases drawn too."""

    random = np.random.default_rng(0)

    def scale(leaf):
        drawn = np.asarray(leaf) + random.normal(size=leaf.shape)
        return jnp.asarray(factor * drawn, leaf.dtype)

    return jax.tree.map(scale, field)


def test_two_solutions_approach_at_the_stated_rate_whatever_the_weights(x64):
    field = nj.fields.ContractiveField(4, 16, rate=0.5, is_time_dependent=True, key=jax.random.key(0))
    starts = 2.0 * np.random.default_rng(1).normal(size=(2, 8, 4))
    ts = jnp.linspace(0.0, 2.0, 5)
    controller = nj.PIController(rtol=1e-8, atol=1e-10)
    solve = jax.jit(lambda field: nj.odeint(field, starts, ts, controller=controller).ys)
    for factor in (1.0, 5.0):
        distance = jnp.linalg.norm(jnp.diff(solve(grown(field, factor)), axis=1)[:, 0], axis=-1)
        ratio = np.asarray(distance[1:] / distance[:-1])
        assert (ratio <= np.exp(-0.5 * 0.5) * (1 + 1e-6)).all()
        assert (ratio > 0).all()


def test_distances_never_grow_with_a_rate_of_zero():
    field = grown(nj.fields.ContractiveField(3, 8, rate=0.0, key=jax.random.key(0)), 3.0)
    y = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
    jacobians = np.asarray(jax.vmap(jax.jacfwd(lambda y: field(0.0, y)))(y))
    log_norms = np.linalg.eigvalsh((jacobians + jacobians.swapaxes(1, 2)) / 2)[:, -1]
    assert (log_norms <= 1e-5 * np.abs(jacobians).max()).all()


def test_a_contractive_field_is_its_formula():
    field = grown(nj.fields.ContractiveField(3, 5, rate=0.2, is_time_dependent=True, key=jax.random.key(0)), 1.0)
    y = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    turn, weight, drift, bias, push = map(np.asarray, jax.tree.leaves(field))
    expected = [
        (turn - turn.T) @ row - weight.T @ np.tanh(weight @ row + 0.4 * drift + bias) + push - 0.2 * row for row in y
    ]
    np.testing.assert_allclose(field(0.4, y), expected, rtol=1e-4, atol=1e-5)


def test_a_bounded_solution_never_leaves_its_box():
    inner = grown(nj.fields.MLP(4, 16, 2, key=jax.random.key(0)), 30.0)
    field = nj.fields.BoundedField(inner, decay=0.5, limit=2.0)
    y0 = jnp.array([[0.0, 0.1, 3.9, -4.0], [7.0, -9.0, 0.2, 0.0]])
    ts = jnp.linspace(0.0, 100.0, 400)
    controller = nj.ConstantStep(0.25)
    ys = np.asarray(jax.jit(lambda field: nj.odeint(field, y0, ts, solver=nj.RK4(), controller=controller).ys)(field))
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
            lambda: nj.fields.ContractiveField(2, 4, rate=-1.0, key=jax.random.key(0)),
            "finite rate of 0 or more, in 1/time, got -1.0",
        ),
        (
            lambda: nj.fields.ContractiveField(2, 0, rate=1.0, key=jax.random.key(0)),
            "width to be an integer of at least 1, got 0",
        ),
        (
            lambda: nj.fields.ContractiveField(2, 4, rate=1.0, key=jax.random.key(0))(0.0, jnp.ones((2, 3))),
            r"dim=2 entries, got shape \(2, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
