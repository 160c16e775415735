"""Gradients are exact: against diffrax, against finite differences, for everything that can be differentiated."""

import functools

import chex
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

TIGHT = nj.PIController(rtol=1e-9, atol=1e-9)
END = [0.0, 1.5]
MANY = np.linspace(0.0, 1.5, 8)
REPEATED = [0.0, 0.0, 0.4, 0.4, 0.4, 1.1, 1.5, 1.5]
BACKWARD = np.linspace(1.0, -0.5, 8)
TIMES = {"end": END, "many": MANY, "repeated": REPEATED, "backward": BACKWARD}
"""Two or eight, so that two programs take them all."""


class Driven(eqx.Module):
    """A damped, driven oscillator with an integer and an unused leaf."""

    rates: jax.Array
    power: jax.Array
    unused: jax.Array

    def __call__(self, t, y, args):
        return jnp.stack([y[1], -self.rates[0] * y[0] ** self.power - self.rates[1] * y[1] + args * jnp.sin(3 * t)])


def _driven():
    return Driven(jnp.array([2.0, 0.3]), jnp.array(3), jnp.array(1.0))


def _loss(inputs, solver=None, controller=TIGHT):
    field, y0, ts, args = inputs
    sol = nj.odeint(field, y0, ts, args, solver=solver or nj.Tsit5(), controller=controller)
    weights = jnp.cos(jnp.arange(sol.ys.size, dtype=sol.ys.dtype)).reshape(sol.ys.shape)
    return jnp.sum(weights * jnp.tanh(sol.ys))


def _compiled_gradient(loss):
    return jax.jit(lambda inputs: eqx.filter_grad(loss)(inputs))


_value = jax.jit(_loss)
_gradient = _compiled_gradient(_loss)
_gradient_of_diffrax = _compiled_gradient(functools.partial(_loss, solver=diffrax.Tsit5()))


def _finite_differences(inputs, evaluate):
    """Central differences in every floating-point entry of the inputs, of a compiled function."""
    arrays, static = eqx.partition(inputs, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(arrays)

    def at(x):
        return evaluate(eqx.combine(unravel(x), static))

    h = 1e-5
    steps = h * np.eye(flat.size)
    return np.array([(at(flat + step) - at(flat - step)) / (2 * h) for step in steps])


@pytest.mark.parametrize("times", ["end", "many", "backward"])
def test_gradients_agree_with_finite_differences(x64, times):
    inputs = (_driven(), jnp.array([1.0, -0.5]), jnp.asarray(TIMES[times]), jnp.array(0.7))
    gradient = _gradient(inputs)
    expected = _finite_differences(inputs, _value)
    flat, _ = jax.flatten_util.ravel_pytree(gradient)
    np.testing.assert_allclose(flat, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("times", TIMES)
def test_gradients_agree_with_diffrax(x64, times):
    inputs = (_driven(), jnp.array([1.0, -0.5]), jnp.asarray(TIMES[times]), jnp.array(0.7))
    ours, theirs = _gradient(inputs), _gradient_of_diffrax(inputs)
    for name in ("rates", "unused"):
        np.testing.assert_allclose(getattr(ours[0], name), getattr(theirs[0], name), rtol=1e-5, atol=1e-7)
    for ours_leaf, theirs_leaf in zip(ours[1:], theirs[1:], strict=True):
        if times != "repeated" or ours_leaf.shape != (8,):
            # diffrax splits the gradient of repeated times in another way than by the interpolant's slope.
            np.testing.assert_allclose(ours_leaf, theirs_leaf, rtol=1e-5, atol=1e-6)


def test_gradients_are_exact_for_constant_steps(x64):
    """With steps fixed in advance nothing is approximate: differences agree far below the solver's own error."""
    controller = nj.ConstantStep(0.25)
    inputs = (_driven(), jnp.array([1.0, -0.5]), jnp.asarray(MANY), jnp.array(0.7))

    def loss(x):
        return _loss((x[0], x[1], jnp.asarray(MANY), x[3]), nj.RK4(), controller)

    gradient = _compiled_gradient(loss)(inputs)
    expected = _finite_differences((inputs[0], inputs[1], None, inputs[3]), jax.jit(loss))
    flat, _ = jax.flatten_util.ravel_pytree((gradient[0], gradient[1], gradient[3]))
    np.testing.assert_allclose(flat, expected, rtol=1e-7, atol=1e-8)


def test_unused_leaves_get_exactly_zero():
    inputs = (_driven(), jnp.array([1.0, -0.5]), jnp.asarray(MANY), jnp.array(0.7))
    gradient = _compiled_gradient(functools.partial(_loss, controller=nj.PIController()))(inputs)
    assert float(gradient[0].unused) == 0.0


def test_times_move_the_output_along_the_field(x64):
    """dy(ts[i])/dts[i] = f, and moving t0 and t1 together changes nothing for an autonomous field."""

    def field(t, y, args):
        return -2.0 * y

    rows = jax.jacrev(lambda ts: nj.odeint(field, jnp.ones(1), ts, controller=TIGHT).ys[:, 0])
    jacobian = jax.jit(rows)(MANY)
    slope = -2 * np.exp(-2 * MANY)
    np.testing.assert_allclose(np.diag(jacobian)[1:], slope[1:], rtol=1e-6)
    np.testing.assert_allclose(jacobian[1:, 0], -slope[1:], rtol=1e-6)
    same = jax.jit(jax.grad(lambda ts: nj.odeint(field, jnp.ones(1), ts).ys[1, 0]))(jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(same, [2.0, -2.0])


@pytest.mark.parametrize("is_jitted", [False, True], ids=["eager", "jitted"])
@pytest.mark.parametrize("kind", ["float", "array"])
def test_closures_get_the_gradients_of_what_they_capture(x64, kind, is_jitted):
    def loss(rate, matrix):
        def field(t, y, args):
            return rate * (matrix @ y)

        return jnp.sum(nj.odeint(field, jnp.array([1.0, 2.0]), [0.0, 1.0], controller=TIGHT).ys[-1])

    rate = 0.5 if kind == "float" else jnp.array(0.5)
    matrix = jnp.array([[0.1, 1.0], [-1.0, 0.2]])
    gradient = jax.grad(loss, argnums=(0, 1))
    found = (jax.jit(gradient) if is_jitted else gradient)(rate, matrix)

    def exact(rate, matrix):
        return jnp.sum(jax.scipy.linalg.expm(rate * matrix) @ jnp.array([1.0, 2.0]))

    expected = jax.grad(exact, argnums=(0, 1))(jnp.array(0.5), matrix)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_gradients_inside_scan_and_vmap_of_captured_tracers(x64):
    def loss(rates):
        def body(y, rate):
            return nj.odeint(lambda t, y, args: -rate * y, y, [0.0, 1.0], controller=TIGHT).ys[-1], None

        y, _ = jax.lax.scan(body, jnp.array(1.0), rates)
        return y

    rates = jnp.array([0.3, 0.5, 0.7])
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(rates), -np.exp(-1.5) * np.ones(3), rtol=1e-6)
    each = jax.jit(jax.vmap(jax.grad(lambda rate: loss(rate[None]))))(rates)
    np.testing.assert_allclose(each, -np.exp(-np.asarray(rates)), rtol=1e-6)


def test_vmap_of_grad_and_grad_of_vmap_agree():
    field = nj.fields.MLP(2, 8, 1, key=jax.random.key(0))
    y0s = jax.random.normal(jax.random.key(1), (5, 2)) * jnp.array([[0.1], [1.0], [2.0], [3.0], [4.0]])

    def loss(field, y0):
        return jnp.sum(nj.odeint(field, y0, jnp.linspace(0, 1, 6)).ys ** 2)

    def all_three(arrays):
        field = eqx.combine(arrays, static)
        summed = eqx.filter_grad(lambda f: jnp.sum(jax.vmap(lambda y: loss(f, y))(y0s)))(field)
        return summed, jax.vmap(lambda y: eqx.filter_grad(loss)(field, y))(y0s), eqx.filter_grad(loss)(field, y0s[3])

    arrays, static = eqx.partition(field, eqx.is_array)
    summed, each, one = jax.jit(all_three)(arrays)
    chex.assert_trees_all_close(summed, jax.tree.map(lambda leaf: leaf.sum(axis=0), each), rtol=2e-3, atol=1e-4)
    chex.assert_trees_all_close(one, jax.tree.map(lambda leaf: leaf[3], each), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("times", ["end", "many"])
def test_hessian_by_forward_over_reverse(x64, times):
    def value(y0):
        return jnp.sum(nj.odeint(lambda t, y, args: y * (1 - y), y0, jnp.asarray(TIMES[times]), controller=TIGHT).ys)

    def exact(y0):
        t = jnp.asarray(TIMES[times])[:, None]
        return jnp.sum(y0 / (y0 + (1 - y0) * jnp.exp(-t)))

    y0 = jnp.array([0.2, 0.6])
    np.testing.assert_allclose(jax.jit(jax.hessian(value))(y0), jax.jit(jax.hessian(exact))(y0), atol=1e-6)


def test_a_failed_solve_that_the_loss_masks_has_a_finite_gradient():
    def loss(y0, rate):
        sol = nj.odeint(lambda t, y, args: args * y * y, y0, jnp.linspace(0.0, 2.0, 9), rate)
        return jnp.sum(jnp.where(jnp.isfinite(sol.ys), sol.ys, 0.0)[:3])

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(jnp.ones(1), 1.0)
    assert np.isfinite(value)
    for leaf in gradient:
        assert np.isfinite(np.asarray(leaf)).all()

    def only_masked(y0):
        sol = nj.odeint(lambda t, y, args: y * y, y0, jnp.linspace(0.0, 2.0, 9))
        return jnp.sum(jnp.where(jnp.arange(9) > 6, jnp.nan_to_num(sol.ys[:, 0]), 0.0))

    np.testing.assert_array_equal(jax.jit(jax.grad(only_masked))(jnp.ones(1)), 0.0)


def test_only_what_is_asked_for_is_differentiated():
    """A large constant that a closure reads takes no cotangent buffer in the backward loop."""

    def loss(y0, table):
        return jnp.sum(nj.odeint(lambda t, y, args: table[0] * jnp.sum(table) * y, y0, [0.0, 1e-4]).ys)

    y0, table = jnp.ones(3), jnp.ones((777, 3))
    # An equation that makes an array of the table's shape.
    made = ":f32[777,3] = "
    assert made not in str(jax.make_jaxpr(jax.grad(loss))(y0, table))
    assert made in str(jax.make_jaxpr(jax.grad(loss, argnums=1))(y0, table))
