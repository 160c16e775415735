"""Functions that a CPU gets as one kernel: what they compute, when they are one, and that nothing makes them fail."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.kernels import one_kernel

MARK = 'xla_cpu_small_call="true"'


def respond(x, y):
    """Three results of which XLA would make a kernel each, and a branch."""
    total = x + y
    return jnp.log(total), {"largest": jnp.maximum(x, y), "rest": jnp.where(total > 3, total, jnp.exp(-x))}


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile().as_text()


def lowered_for(platform, function, *args):
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def test_a_marked_function_returns_what_it_computes():
    x, y = jnp.asarray(1.5), jnp.asarray(2.0)
    jax.tree.map(np.testing.assert_array_equal, one_kernel()(respond)(x, y), respond(x, y))
    jax.tree.map(np.testing.assert_array_equal, jax.jit(one_kernel()(respond))(x, y), jax.jit(respond)(x, y))


def test_it_is_one_call_of_the_program_and_is_so_under_vmap():
    x = jnp.asarray(1.5)
    assert compiled(one_kernel()(respond), x, x).count(f"{MARK}") > compiled(respond, x, x).count(MARK) == 0
    assert MARK in compiled(jax.vmap(one_kernel()(respond)), jnp.ones(5), jnp.ones(5))


def test_it_is_left_alone_in_a_loop_that_is_compiled_whole_anyway():
    assert MARK not in compiled(one_kernel(8)(respond), jnp.ones(()), jnp.ones(()))
    assert MARK in compiled(jax.vmap(one_kernel(8)(respond)), jnp.ones(8), jnp.ones(8))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_do_not_see_the_mark(platform):
    x = jnp.ones(())
    assert "xla_cpu_small_call" in lowered_for("cpu", one_kernel()(respond), x, x)
    assert "inlineable" not in lowered_for(platform, one_kernel()(respond), x, x)
    assert "small_call" not in lowered_for(platform, one_kernel()(respond), x, x)


def test_derivatives_pass_through_it():
    def value(x, function):
        first, others = function(x, 2 * x)
        return first + others["largest"] * others["rest"]

    for derivative in (jax.grad, jax.jacfwd, jax.hessian):
        found = jax.jit(derivative(functools.partial(value, function=one_kernel()(respond))))(1.5)
        np.testing.assert_allclose(found, derivative(functools.partial(value, function=respond))(1.5), rtol=1e-6)


def test_results_that_are_arguments_or_captured_values_are_allowed():
    @jax.jit
    def run(x, y):
        @one_kernel()
        def inner(x):
            return x, x + y, y, jnp.zeros(3)

        return inner(x)

    x, total, y, zeros = run(1.0, 2.0)
    assert (float(x), float(total), float(y)) == (1.0, 3.0, 2.0)
    np.testing.assert_array_equal(zeros, np.zeros(3))


def test_a_function_without_results_or_arguments_is_allowed():
    assert jax.jit(one_kernel()(lambda: (None, ())))() == (None, ())
    np.testing.assert_array_equal(jax.jit(one_kernel()(lambda: jnp.zeros(4)))(), np.zeros(4))


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "tpu")], ids=["one", "two"])
def test_a_solve_can_be_exported_and_called_again(platforms):
    """Also for a TPU, whose compiler must not see the marks."""
    y0, ts = jnp.linspace(0.5, 1.0, 32), jnp.linspace(0.0, 1.0, 7)

    @jax.jit
    def value_and_gradient(y0):
        return jax.value_and_grad(lambda y0: jnp.sum(nj.odeint(lambda t, y, args: -y, y0, ts).ys ** 2))(y0)

    found = jax.jit(jax.export.export(value_and_gradient, platforms=platforms)(y0).call)(y0)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, value_and_gradient(y0))


def test_a_solve_can_be_exported_for_any_number_of_trajectories():
    @jax.jit
    @jax.vmap
    def solve(y0):
        return nj.odeint(lambda t, y, args: -y, y0, jnp.linspace(0.0, 1.0, 3)).ys

    (size,) = jax.export.symbolic_shape("size")
    exported = jax.export.export(solve)(jax.ShapeDtypeStruct((size, 2), jnp.float32))
    y0s = jnp.linspace(0.5, 1.0, 10).reshape(5, 2)
    np.testing.assert_allclose(exported.call(y0s), solve(y0s), rtol=1e-6)


def test_what_writes_much_is_left_to_several_threads():
    def write(x):
        return jnp.zeros((65, x.size)).at[0].set(x), x + 1

    assert MARK in compiled(one_kernel()(write), jnp.ones(100))
    assert MARK not in compiled(one_kernel()(write), jnp.ones(10_000))


@pytest.mark.parametrize("size", [1, 1000, 50_000, 400_000])
def test_a_single_result_may_have_any_size(size):
    found = jax.jit(one_kernel()(lambda x: jnp.zeros(size) + x))(2.0)
    np.testing.assert_array_equal(found, np.full(size, 2.0))


CONTROLLERS = {
    "PI": nj.PIController(rtol=1e-3, atol=1e-5),
    "dt0, dtmin, dtmax": nj.PIController(rtol=1e-3, atol=1e-5, dt0=0.1, dtmin=1e-4, dtmax=0.5),
    "constant": nj.ConstantStep(dt=0.05),
    "fixed": nj.FixedSteps(2),
}


@pytest.mark.parametrize("num_times", [1, 2, 3, 200])
@pytest.mark.parametrize("size", [1, 16, 5000])
@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=CONTROLLERS)
def test_a_program_whose_inputs_are_all_constants_compiles(controller, size, num_times):
    """The compiler puts constants into the kernels, and may have no use for an argument then."""
    y0, ts = jnp.linspace(0.5, 1.0, size), jnp.linspace(0.0, 1.0, num_times)

    def loss(rate):
        sol = nj.odeint(lambda t, y, rate: -rate * y, y0, ts, rate, controller=controller, max_steps=512)
        return jnp.sum(sol.ys**2)

    value = jax.jit(lambda: jax.value_and_grad(loss)(jnp.asarray(0.7)))
    expected = jax.jit(jax.value_and_grad(loss))(jnp.asarray(0.7))
    np.testing.assert_allclose(value(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_times", [2, 20])
def test_a_batch_whose_inputs_are_all_constants_compiles(num_times):
    y0s, ts = jnp.linspace(0.5, 1.0, 24).reshape(12, 2), jnp.linspace(0.0, 1.0, num_times)

    def loss(rate):
        return jnp.sum(nj.odeint_batch(lambda t, y, rate: -rate * y, y0s, ts, rate, lanes=4).ys ** 2)

    value = jax.jit(lambda: jax.value_and_grad(loss)(jnp.asarray(0.7)))
    expected = jax.jit(jax.value_and_grad(loss))(jnp.asarray(0.7))
    np.testing.assert_allclose(value(), expected, rtol=1e-5)
