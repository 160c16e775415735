"""Products of a gradient are written as a CPU computes them fast, and have the same values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import node_jax as nj
from node_jax.adjoints.products import pull_fast
from tests.adjoints.test_programs import equations

OVER_ROWS = (((0,), (0,)), ((), ()))
ROWS = 12


def plain(weights, x):
    return jnp.tanh(x @ weights)


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


@pytest.mark.parametrize("function", [plain, in_a_function, in_a_loop, in_a_branch, replayed, mapped])
def test_a_transpose_has_the_same_values(x64, function):
    pull, bar = pull_of(function, 8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), pull_fast(pull, bar), pull(bar))


@pytest.mark.parametrize("function", [plain, in_a_function, in_a_loop, in_a_branch])
def test_narrow_products_over_rows_are_written_anew_wherever_they_are(function):
    pull, bar = pull_of(function, 8)
    assert products_over_rows(pull, bar)
    assert not products_over_rows(lambda bar: pull_fast(pull, bar), bar)


def test_wide_products_are_left_alone():
    pull, bar = pull_of(plain, 65)
    assert products_over_rows(lambda bar: pull_fast(pull, bar), bar) == 1


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
