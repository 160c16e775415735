"""Every adjoint gives the gradient of the default one, for all that can be differentiated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import node_jax as nj
from tests.adjoints.cases import (
    ADJOINTS,
    CONTINUOUS,
    REVERSE,
    TIMES,
    TOLERANCES,
    central_differences,
    driven,
    flat_loss,
    gradient,
    relative_difference,
    single_gradient,
    solve,
    split,
    weigh,
)

OTHERS = [name for name in ADJOINTS if name not in ("checkpointed", "reversible")]
REVERSIBLE_TSIT5 = nj.Reversible(nj.Tsit5())


def slack(name, precision):
    """How far a gradient may be from the default one: rounding, or the tolerance of the solve."""
    if name in CONTINUOUS:
        return {"float64": 1e-6, "float32": 2e-3}[precision]
    return {"float64": 1e-11, "float32": 2e-4}[precision]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", OTHERS)
def test_every_adjoint_agrees_with_the_default_in_float64(x64, name, times):
    found, expected = gradient(name, times, "float64"), gradient("checkpointed", times, "float64")
    assert relative_difference(found, expected) < slack(name, "float64")


@pytest.mark.parametrize("times", ["many", "repeated", "backward"])
@pytest.mark.parametrize("name", [name for name in OTHERS if name != "gauss replay"])
def test_every_adjoint_agrees_with_the_default_in_float32(name, times):
    found, expected = gradient(name, times, "float32"), gradient("checkpointed", times, "float32")
    assert relative_difference(found, expected) < slack(name, "float32")


@pytest.mark.parametrize("times", TIMES)
def test_steps_taken_back_give_the_gradient_of_the_reversible_method(x64, times):
    found = gradient("reversible", times, "float64")
    expected = gradient("forward", times, "float64", REVERSIBLE_TSIT5)
    assert relative_difference(found, expected) < 1e-8


def test_steps_taken_back_give_the_gradient_of_the_reversible_method_in_float32():
    found = gradient("reversible", "many", "float32")
    expected = gradient("forward", "many", "float32", REVERSIBLE_TSIT5)
    assert relative_difference(found, expected) < 2e-3


@pytest.mark.parametrize("times", ["end", "many", "backward"])
def test_the_default_agrees_with_finite_differences(x64, times):
    inputs = driven(times)
    flat, arrays, join = split(inputs)
    evaluate = jax.jit(flat_loss(inputs, lambda x: weigh(solve(x, nj.CheckpointedAdjoint(), 1e-9).ys)))
    expected = join(central_differences(evaluate, flat, arrays), arrays)
    found = gradient("checkpointed", times, "float64")
    for name in ("y0", "ts"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.field.rates, expected.field.rates, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.args["push"], expected.args["push"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("times", ["end", "many"])
@pytest.mark.parametrize("name", ADJOINTS)
def test_unused_leaves_get_exactly_zero(x64, name, times):
    found = gradient(name, times, "float64")
    assert found.field.unused == 0.0
    np.testing.assert_array_equal(found.args["unused"], 0.0)
    assert np.abs(found.field.rates).min() > 1e-3


@pytest.mark.parametrize("name", ADJOINTS)
def test_a_solve_that_takes_no_step_hands_on_the_cotangent(x64, name):
    """y(t0) is y0, and y(ts[1]) moves along the field when either time does."""
    inputs = driven("one")
    one = gradient(name, "one", "float64")
    np.testing.assert_allclose(one.y0, jax.grad(lambda y: weigh(y[None]))(inputs.y0), rtol=1e-14)
    assert one.ts[0] == 0.0
    np.testing.assert_array_equal(one.field.rates, 0.0)
    inputs = driven("no time")
    same = gradient(name, "no time", "float64")
    slope = np.asarray(inputs.field(1.0, inputs.y0, inputs.args))
    cotangent = np.asarray(jax.grad(weigh)(jnp.stack([inputs.y0] * 2)))
    np.testing.assert_allclose(same.y0, cotangent.sum(axis=0), rtol=1e-14)
    np.testing.assert_allclose(same.ts, [-cotangent[1] @ slope, cotangent[1] @ slope], rtol=1e-12)
    np.testing.assert_array_equal(same.field.rates, 0.0)


@pytest.mark.parametrize("times", ["end", "many"])
@pytest.mark.parametrize("name", [name for name in REVERSE if name != "gauss replay"])
def test_a_solve_that_fails_at_its_start_adds_nothing_where_a_loss_masks_it(x64, name, times):
    """Neither beside one that succeeds, under vmap, nor alone; log has no derivative at its start."""

    def loss(rate, y0, ts):
        sol = nj.odeint(lambda t, y, rate: rate * jnp.log(y), y0, ts, rate, adjoint=REVERSE[name])
        return jnp.where(sol.status == nj.Status.success, jnp.sum(sol.ys), 0.0)

    ts = jnp.asarray(TIMES[times])
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    together = jax.jit(jax.grad(lambda *x: jnp.sum(jax.vmap(loss, in_axes=(None, 0, None))(*x)), argnums=(0, 1, 2)))
    one = gradients(1.0, jnp.array([2.0]), ts)
    for bad in (0.0, jnp.nan):
        for zero in gradients(1.0, jnp.array([bad]), ts):
            np.testing.assert_array_equal(zero, 0.0)
        rate_bar, y0_bar, ts_bar = together(1.0, jnp.array([[2.0], [bad]]), ts)
        np.testing.assert_allclose(rate_bar, one[0], rtol=1e-12)
        np.testing.assert_allclose(y0_bar, [one[1], [0.0]], rtol=1e-12)
        np.testing.assert_allclose(ts_bar, one[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("times", ["many", "backward"])
def test_jaxs_own_search_for_nan_finds_none_in_a_gradient_that_has_none(times):
    inputs = driven(times)
    with jax.debug_nans(True):
        found = jax.grad(lambda y0: weigh(nj.odeint(*inputs._replace(y0=y0)).ys))(inputs.y0)
    assert np.isfinite(found).all()


STARTS = np.array([[0.1, 0.0], [1.0, -0.5], [2.0, 1.0], [-1.5, 3.0]])


@pytest.mark.parametrize("name", [name for name in REVERSE if name != "gauss replay"])
def test_gradients_a_sample_equal_single_ones_and_add_up_to_that_of_the_batch(x64, name):
    inputs = driven("many")
    flat, arrays, join = split(inputs)
    loss = flat_loss(inputs, lambda x: weigh(solve(x, REVERSE[name], TOLERANCES["float64"]).ys))
    flats = jnp.stack([split(inputs._replace(y0=start))[0] for start in jnp.asarray(STARTS)])
    each = jax.jit(jax.vmap(jax.grad(loss), in_axes=(0, None)))(flats, arrays)
    alone = single_gradient(name, "many", "float64")
    for found, start in zip(each, flats, strict=True):
        assert relative_difference(found, alone(start, arrays)) < 1e-9

    def loss_of_batch(flat, starts):
        def one(start):
            return loss(split(join(flat, arrays)._replace(y0=start))[0], arrays)

        return jnp.sum(jax.vmap(one)(starts))

    summed, starts = jax.jit(jax.grad(loss_of_batch, argnums=(0, 1)))(flat, jnp.asarray(STARTS))
    added = join(each.sum(axis=0), arrays)
    assert relative_difference(join(summed, arrays).field.rates, added.field.rates) < 1e-9
    assert relative_difference(join(summed, arrays).ts, added.ts) < 1e-9
    assert relative_difference(starts, jnp.stack([join(bar, arrays).y0 for bar in each])) < 1e-9


RATE_AND_START = np.array([0.8, 0.2])
MAX_STEPS_LOGISTIC = 512


def logistic_value(adjoint):
    """A sum over outputs of the logistic equation, as a function of (rate, start)."""

    def value(x):
        controller = nj.PIController(rtol=1e-9, atol=1e-9)
        sol = nj.odeint(
            lambda t, y, args: args * y * (1 - y),
            x[1:],
            jnp.linspace(0.0, 1.5, 4),
            x[0],
            solver=nj.Bosh3(),
            controller=controller,
            adjoint=adjoint,
            max_steps=MAX_STEPS_LOGISTIC,
        )
        return jnp.sum(sol.ys**2)

    return value


@functools.cache
def logistic_hessian():
    def exact(x):
        t = jnp.linspace(0.0, 1.5, 4)
        return jnp.sum((x[1] / (x[1] + (1 - x[1]) * jnp.exp(-x[0] * t))) ** 2)

    return np.asarray(jax.hessian(exact)(jnp.asarray(RATE_AND_START)))


@pytest.mark.parametrize("name", [name for name in REVERSE if name != "gauss replay"])
def test_hessians_by_forward_over_reverse(x64, name):
    adjoint = REVERSE[name]
    found = jax.jit(jax.hessian(logistic_value(adjoint)))(jnp.asarray(RATE_AND_START))
    np.testing.assert_allclose(found, logistic_hessian(), rtol=1e-5)


@pytest.mark.parametrize("order", ["reverse over reverse", "forward over forward", "reverse over forward"])
def test_the_direct_adjoint_differentiates_in_any_order(x64, order):
    outer, inner = order.split(" over ")
    modes = {"reverse": jax.jacrev, "forward": jax.jacfwd}
    value = logistic_value(nj.DirectAdjoint())
    found = jax.jit(modes[outer](modes[inner](value)))(jnp.asarray(RATE_AND_START))
    np.testing.assert_allclose(found, logistic_hessian(), rtol=1e-6)


def test_forward_mode_differentiates_twice(x64):
    value = logistic_value(nj.ForwardMode())
    found = jax.jit(jax.jacfwd(jax.jacfwd(value)))(jnp.asarray(RATE_AND_START))
    np.testing.assert_allclose(found, logistic_hessian(), rtol=1e-6)


@pytest.mark.parametrize("times", ["end", "repeated"])
def test_tangents_of_outputs_by_forward_mode_equal_the_direct_ones(x64, times):
    inputs = driven(times)
    flat, arrays, _ = split(inputs)
    tangent = jnp.cos(jnp.arange(flat.size, dtype=flat.dtype))

    def tangent_of(adjoint):
        function = flat_loss(inputs, lambda x: solve(x, adjoint, 1e-9).ys)
        return jax.jit(lambda x, dx: jax.jvp(lambda x: function(x, arrays), (x,), (dx,))[1])(flat, tangent)

    direct = tangent_of(nj.DirectAdjoint())
    assert np.abs(direct).min(axis=1).max() > 0.01
    np.testing.assert_allclose(tangent_of(nj.ForwardMode()), direct, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in REVERSE if name != "direct"])
def test_forward_mode_over_a_reverse_rule_names_the_cure(name):
    def end(y0):
        return nj.odeint(lambda t, y, args: -y, y0, [0.0, 1.0], adjoint=REVERSE[name], max_steps=16).ys

    with pytest.raises(TypeError, match=r"(?s)nj\.ForwardMode\(\).*nj\.DirectAdjoint\(\)"):
        jax.jvp(end, (jnp.ones(1),), (jnp.ones(1),))


@pytest.mark.parametrize("name", [name for name in REVERSE if name != "direct"])
def test_reverse_mode_over_a_reverse_rule_names_the_cure(name):
    gradient = jax.grad(logistic_value(REVERSE[name]))
    for compiled in (lambda function: function, jax.jit):
        with pytest.raises(TypeError, match=r"jax\.hessian.*nj\.DirectAdjoint\(\)"):
            compiled(jax.jacrev(gradient))(jnp.asarray(RATE_AND_START))


def test_reverse_mode_over_forward_mode_names_the_cure():
    value = logistic_value(nj.ForwardMode())
    with pytest.raises(TypeError, match=r"no reverse mode.*nj\.CheckpointedAdjoint\(\)"):
        jax.grad(value)(jnp.asarray(RATE_AND_START))
    jax.grad(lambda x: x[0] ** 2 + lax.stop_gradient(value(x)))(jnp.asarray(RATE_AND_START))
