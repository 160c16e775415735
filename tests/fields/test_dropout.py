"""A field with dropout is one thinned network along a solve, forward and backward."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import ADJOINTS, Inputs, flat_loss, relative_difference, solve, split, weigh

RATE = 0.3
NAMES = ("checkpointed", "direct", "backsolve", "gauss", "reversible", "forward")


def network(**options):
    return nj.fields.MLP(2, 8, 2, activation=jnp.tanh, dropout=RATE, key=jax.random.key(0), **options)


def thin(field):
    """The network with the weights behind each dropped unit set to zero and the others scaled up, and no dropout."""
    factors = [1.0, *(dropout.mask / (1 - RATE) for dropout in field.dropouts)]
    weights = tuple(weight * factor for weight, factor in zip(field.weights, factors, strict=True))
    return eqx.tree_at(lambda field: (field.weights, field.dropouts), field, (weights, None))


def problem(field):
    return Inputs(field, jnp.array([1.0, -0.5]), jnp.linspace(0.0, 1.0, 5), None)


@functools.cache
def value_and_gradient(name, is_thinned):
    drawn = problem(nj.fields.draw_dropout(network(), key=jax.random.key(1)))

    def value(inputs):
        inputs = inputs._replace(field=thin(inputs.field)) if is_thinned else inputs
        value = weigh(solve(inputs, ADJOINTS[name], 1e-9).ys)
        return value, value

    flat, arrays, _ = split(drawn)
    differentiate = jax.jacfwd if name == "forward" else jax.grad
    slope, value = jax.jit(differentiate(flat_loss(drawn, value), has_aux=True))(flat, arrays)
    return value, slope


@pytest.mark.parametrize("name", NAMES)
def test_a_solve_and_its_gradient_are_those_of_the_thinned_network(name, x64):
    found, expected = value_and_gradient(name, False), value_and_gradient("checkpointed", True)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-7)
    assert relative_difference(found[1], expected[1]) < 1e-7


def test_the_thinned_network_is_another_than_the_whole():
    y, field = jnp.array([1.0, -0.5]), nj.fields.draw_dropout(network(), key=jax.random.key(1))
    assert relative_difference(field(0.0, y), network()(0.0, y)) > 0.1
    np.testing.assert_allclose(field(0.0, y), thin(field)(0.0, y), rtol=1e-5)


class MaskAsDerivative(nj.fields.AbstractField):
    """dy/dt = cos(9 t) dropout(1): the integral tells which masks were seen."""

    dropout: nj.fields.Dropout

    def __call__(self, t, y, _args):
        return jnp.cos(9 * t) * self.dropout(jnp.ones_like(y))


def test_all_evaluations_of_a_solve_see_one_mask():
    field = nj.fields.draw_dropout(MaskAsDerivative(nj.fields.Dropout(0.5, (64,))), key=jax.random.key(2))
    settings = {"solver": nj.RK4(), "controller": nj.ConstantStep(0.05)}
    sol = jax.jit(lambda y0: nj.odeint(field, y0, [0.0, 3.0], **settings))(jnp.zeros(64))
    assert sol.stats.num_evals > 200
    kept = np.asarray(sol.ys[-1] / np.sin(27.0) * 9)
    mask = np.asarray(field.dropout.mask)
    np.testing.assert_allclose(kept, 2.0 * mask, atol=2e-3)
    assert 16 < mask.sum() < 48


def test_another_key_is_another_mask_in_the_same_program():
    num_traces = 0

    @jax.jit
    def end(field, key):
        nonlocal num_traces
        num_traces += 1
        thinned = nj.fields.draw_dropout(field, key=key)
        return nj.odeint(thinned, jnp.ones(2), [0.0, 1.0], solver=nj.RK4(), controller=nj.ConstantStep(0.5)).ys[-1]

    ends = [np.asarray(end(network(), jax.random.key(seed))) for seed in (0, 1, 0)]
    assert num_traces == 1
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    np.testing.assert_array_equal(ends[0], ends[2])


def test_layers_and_samples_get_masks_of_their_own():
    field = nj.fields.draw_dropout(network(), key=jax.random.key(3), batch_shape=(16,))
    first, second = (dropout.mask for dropout in field.dropouts)
    assert first.shape == second.shape == (16, 8)
    assert not np.array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 8


def test_the_mean_over_masks_is_the_output_without_dropout():
    dropout, x = nj.fields.Dropout(RATE, (8,)), jnp.linspace(-1.0, 2.0, 8)
    many = nj.fields.draw_dropout(dropout, key=jax.random.key(4), batch_shape=(4000,))
    outputs = many(jnp.broadcast_to(x, (4000, 8)))
    # The standard deviation of the mean is abs(x) sqrt(rate / (1 - rate) / 4000).
    bound = 4 * np.abs(x) * np.sqrt(RATE / (1 - RATE) / 4000)
    assert (np.abs(outputs.mean(axis=0) - x) <= bound + 1e-6).all()
    assert np.std(outputs[:, -1]) > 1.0


def test_without_masks_it_is_the_network_without_dropout():
    plain = nj.fields.MLP(2, 8, 2, activation=jnp.tanh, key=jax.random.key(0))
    y = jnp.array([0.3, -0.7])
    np.testing.assert_array_equal(network()(0.0, y), plain(0.0, y))
    np.testing.assert_array_equal(nj.fields.draw_dropout(plain, key=jax.random.key(0))(0.0, y), plain(0.0, y))


def test_masks_of_a_rate_of_zero_keep_all():
    dropout = nj.fields.draw_dropout(nj.fields.Dropout(0.0, (50,)), key=jax.random.key(0))
    assert dropout.mask.all()


def test_masks_are_never_trained():
    field = nj.fields.draw_dropout(network(), key=jax.random.key(0))
    num_weights = 2 * len(field.weights)
    assert len(jax.tree.leaves(nj.models.partition_trainable(field)[0])) == num_weights
    gradient = eqx.filter_grad(lambda field: jnp.sum(field(0.0, jnp.ones(2))))(field)
    assert len(jax.tree.leaves(gradient)) == num_weights


def test_trajectories_of_a_batch_have_masks_of_their_own_through_args():
    field = nj.fields.draw_dropout(network(), key=jax.random.key(5), batch_shape=(3,))
    axes = jax.tree.map(lambda leaf: 0 if leaf.dtype == bool else None, field)
    y0s, controller = jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, -1.0]]), nj.FixedSteps(4)
    weights, rest = nj.models.partition_trainable(field)

    def batch(weights):
        sol = nj.odeint_batch(
            lambda t, y, field: field(t, y),
            y0s,
            [0.0, 1.0],
            nj.models.combine_trainable(weights, rest),
            in_axes=(0, None, axes),
            solver=nj.RK4(),
            controller=controller,
        )
        return jnp.sum(sol.ys[:, -1] ** 2)

    def in_one_state(weights):
        field = nj.models.combine_trainable(weights, rest)
        return jnp.sum(nj.odeint(field, y0s, [0.0, 1.0], solver=nj.RK4(), controller=controller).ys[-1] ** 2)

    found, expected = (jax.jit(jax.value_and_grad(loss))(weights) for loss in (batch, in_one_state))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert relative_difference(found[1], expected[1]) < 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.Dropout(1.0, (3,)), r"rate in \[0, 1\).*1.0"),
        (lambda: nj.fields.MLP(2, 4, 1, dropout=-0.1, key=jax.random.key(0)), r"rate in \[0, 1\).*-0.1"),
        (
            lambda: nj.fields.draw_dropout(network(), key=jax.random.key(0), batch_shape=(3,))(0.0, jnp.ones((4, 2))),
            r"mask of shape \(3, 8\) fits, got shape \(4, 8\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
