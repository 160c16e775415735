"""Products of a gradient are written as a CPU computes them fast, and have the same values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import node_jax as nj
from node_jax.adjoints.products import pull_fast
from tests.adjoints.test_programs import equations

OVER_ROWS = (((0,), (0,)), ((), ()))
ROWS = 12


def plain(weights, x):
    return jnp.tanh(x @ weights)


def stored_transposed(weights, x):
    return jnp.tanh(x @ weights.T)


def in_a_function(weights, x):
    return jax.jit(plain)(weights, jax.jit(plain)(weights, x))


def in_a_loop(weights, x):
    return lax.scan(lambda x, _: (plain(weights, x), None), x, length=3)[0]


def in_a_branch(weights, x):
    return lax.cond(x[0, 0] > 0, plain, lambda weights, x: x, weights, x)


def replayed(weights, x):
    return jax.checkpoint(plain)(weights, x)


def mapped(weights, x):
    return jax.vmap(plain, in_axes=(None, 0))(weights, x.reshape(3, 4, -1)).reshape(x.shape)


def pull_of(function, width):
    keys = jax.random.split(jax.random.key(0), 3)
    weights, x, bar = jax.random.normal(keys[0], (width, width)), *jax.random.normal(keys[1], (2, ROWS, width))
    return jax.vjp(function, weights, x)[1], bar


def products_over_rows(function, *arguments):
    found = equations(jax.make_jaxpr(function)(*arguments).jaxpr)
    return sum(e.primitive.name == "dot_general" and e.params["dimension_numbers"] == OVER_ROWS for e in found)


@pytest.mark.parametrize(
    "function", [plain, stored_transposed, in_a_function, in_a_loop, in_a_branch, replayed, mapped]
)
def test_a_transpose_has_the_same_values(x64, function):
    pull, bar = pull_of(function, 8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), pull_fast(pull, bar), pull(bar))


@pytest.mark.parametrize("function", [plain, in_a_function, in_a_loop, in_a_branch])
def test_narrow_products_over_rows_are_written_anew_wherever_they_are(function):
    pull, bar = pull_of(function, 8)
    assert products_over_rows(pull, bar)
    assert not products_over_rows(lambda bar: pull_fast(pull, bar), bar)


@pytest.mark.parametrize("function", [plain, stored_transposed, in_a_function, in_a_loop])
def test_no_compiled_product_has_its_first_factor_transposed(function):
    def slow_products(pull):
        text = jax.jit(lambda bar: pull(bar)[0]).lower(bar).compile().as_text()
        return [line for line in text.splitlines() if " dot(" in line and "lhs_contracting_dims={0}" in line]

    pull, bar = pull_of(function, 8)
    assert slow_products(pull)
    assert not slow_products(lambda bar: pull_fast(pull, bar))


@pytest.mark.parametrize("width", [1, 65])
def test_vectors_and_wide_products_are_left_alone(width):
    pull, bar = pull_of(plain, width)
    assert products_over_rows(lambda bar: pull_fast(pull, bar), bar) == products_over_rows(pull, bar)


def test_large_factors_are_left_alone():
    x, bar = jnp.ones((2**14, 4)), jnp.ones((2**14, 4))
    pull = jax.vjp(plain, jnp.eye(4), x)[1]
    assert products_over_rows(lambda bar: pull_fast(pull, bar), bar) == products_over_rows(pull, bar) == 1


def test_a_gradient_with_a_size_that_is_not_known_can_be_exported():
    (size,) = export.symbolic_shape("size")

    def field(t, y, args):
        return jnp.mean(jnp.tanh(args[0].T @ jnp.tanh(args[0] @ args[1])), axis=1) * y

    def loss(weights, x):
        return jnp.sum(nj.odeint(field, jnp.ones(2), jnp.array([0.0, 0.5, 1.0]), (weights, x)).ys)

    shapes = (jax.ShapeDtypeStruct((4, 2), jnp.float32), jax.ShapeDtypeStruct((2, size), jnp.float32))
    exported = export.export(jax.jit(jax.grad(loss)))(*shapes)
    weights, x = jnp.ones((4, 2)), jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    np.testing.assert_allclose(exported.call(weights, x), jax.grad(loss)(weights, x), rtol=1e-5)


def test_other_platforms_have_the_products_as_they_are(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    pull, bar = pull_of(plain, 8)
    assert products_over_rows(lambda bar: pull_fast(pull, bar), bar) == 1


def test_a_function_that_is_called_twice_stays_one():
    pull, bar = pull_of(in_a_function, 8)
    calls = [e for e in jax.make_jaxpr(lambda bar: pull_fast(pull, bar))(bar).eqns if e.primitive.name == "jit"]
    assert len(calls) == 2
    assert calls[0].params["jaxpr"] is calls[1].params["jaxpr"]


def test_a_hessian_goes_through(x64):
    pull, bar = pull_of(in_a_function, 3)
    found, expected = (
        jax.jacfwd(jax.jacrev(lambda bar, pull=p: pull(bar)[0].sum()))(bar)
        for p in (pull, lambda bar: pull_fast(pull, bar))
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.BacksolveAdjoint()])
def test_the_gradient_of_a_solve_has_no_slow_product(adjoint):
    network, y0 = nj.fields.MLP(dim=2, width=8, depth=2, key=jax.random.key(0)), jnp.ones((ROWS, 2))

    def loss(network):
        return jnp.sum(nj.odeint(network, y0, jnp.linspace(0.0, 1.0, 3), adjoint=adjoint).ys)

    assert not products_over_rows(jax.grad(loss), network)
