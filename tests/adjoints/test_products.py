"""Small products of a solve and its gradient are written as a CPU computes them fast, and have the same values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import node_jax as nj
from node_jax.adjoints.products import with_fast_products
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


def products(function, *arguments):
    """But for those with a unit matrix in full precision, which move an axis."""
    found = equations(jax.make_jaxpr(function)(*arguments).jaxpr)
    return [e for e in found if e.primitive.name == "dot_general" and not is_with_unit(e)]


def is_with_unit(product):
    rows, *columns = product.invars[0].aval.shape
    return columns == [rows] and product.params["precision"] == (lax.Precision.HIGHEST,) * 2


def products_over_rows(function, *arguments):
    return sum(e.params["dimension_numbers"] == OVER_ROWS for e in products(function, *arguments))


def thin_products(function, *arguments):
    sums = [e.invars[0].aval.shape[e.params["dimension_numbers"][0][0][0]] for e in products(function, *arguments)]
    return sum(size <= 4 for size in sums)


def contract(over, num_summed, width=5, dtype=float):
    """A product over these axes of the factors, and factors for it."""
    keys = jax.random.split(jax.random.key(0))
    left, right = jax.random.normal(keys[0], (num_summed, ROWS), dtype), jax.random.normal(keys[1], (num_summed, width))
    factors = left if over[0] == 0 else left.T, (right if over[1] == 0 else right.T).astype(dtype)
    return lambda left, right: lax.dot_general(left, right, (((over[0],), (over[1],)), ((), ()))), factors


@pytest.mark.parametrize(
    "function", [plain, stored_transposed, in_a_function, in_a_loop, in_a_branch, replayed, mapped]
)
def test_a_transpose_has_the_same_values(x64, function):
    pull, bar = pull_of(function, 8)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), with_fast_products(lambda: pull(bar)), pull(bar)
    )


@pytest.mark.parametrize("function", [plain, in_a_function, in_a_loop, in_a_branch])
def test_narrow_products_over_rows_are_written_anew_wherever_they_are(function):
    pull, bar = pull_of(function, 8)
    assert products_over_rows(pull, bar)
    assert not products_over_rows(lambda bar: with_fast_products(lambda: pull(bar)), bar)


@pytest.mark.parametrize("function", [plain, stored_transposed, in_a_function, in_a_loop])
def test_no_compiled_product_has_its_first_factor_transposed(function):
    def slow_products(pull):
        text = jax.jit(lambda bar: pull(bar)[0]).lower(bar).compile().as_text()
        return [line for line in text.splitlines() if " dot(" in line and "lhs_contracting_dims={0}" in line]

    pull, bar = pull_of(function, 8)
    assert slow_products(pull)
    assert not slow_products(lambda bar: with_fast_products(lambda: pull(bar)))


@pytest.mark.parametrize("widths", [(8, 3), (3, 8), (8, 6), (8, 8)])
def test_the_narrower_factor_of_a_product_over_rows_is_transposed(x64, widths):
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (ROWS, width)) for key, width in zip(keys, widths, strict=True))
    over_rows = functools.partial(lax.dot_general, dimension_numbers=OVER_ROWS)
    for multiply in (over_rows, lambda left, right: over_rows(right, left).T):
        found = jax.jit(lambda left, right, m=multiply: with_fast_products(lambda: m(left, right)))
        np.testing.assert_allclose(found(left, right), left.T @ right, rtol=1e-12)
        first, second = (atom.aval.shape for atom in products(found, left, right)[0].invars)
        assert first == (min(widths), ROWS)
        assert second == (ROWS, max(widths))


@pytest.mark.parametrize("over", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("num_summed", [1, 2, 4])
def test_a_product_that_sums_over_a_few_numbers_is_a_sum_of_products_of_vectors(x64, over, num_summed):
    multiply, factors = contract(over, num_summed)
    found = with_fast_products(lambda: multiply(*factors))
    np.testing.assert_allclose(found, multiply(*factors), rtol=1e-12)
    assert thin_products(multiply, *factors) == 1
    assert not products(lambda *factors: with_fast_products(lambda: multiply(*factors)), *factors)


def test_factors_of_a_thin_product_may_have_more_axes(x64):
    keys = jax.random.split(jax.random.key(0))
    x, weights = jax.random.normal(keys[0], (3, 5, 2)), jax.random.normal(keys[1], (6, 2, 4))
    found = with_fast_products(lambda: jnp.einsum("abk,ckd->abcd", x, weights))
    np.testing.assert_allclose(found, jnp.einsum("abk,ckd->abcd", x, weights), rtol=1e-12)
    assert not products(lambda: with_fast_products(lambda: jnp.einsum("abk,ckd->abcd", x, weights)))


@pytest.mark.parametrize(
    ("num_summed", "width", "dtype"),
    [(5, 5, "float32"), (0, 5, "float32"), (2, 1, "float32"), (2, 5, "bfloat16")],
)
def test_other_products_are_left_alone(num_summed, width, dtype):
    multiply, factors = contract((1, 0), num_summed, width, dtype)
    rewritten = with_fast_products(lambda: multiply(*factors), is_transpose=True)
    np.testing.assert_array_equal(rewritten, multiply(*factors))
    assert products(lambda *factors: with_fast_products(lambda: multiply(*factors)), *factors)


@pytest.mark.parametrize(("is_transpose", "widest"), [(False, 32), (True, 64)])
def test_wide_thin_products_are_left_alone(is_transpose, widest):
    def num_left(width):
        x, weights = jnp.ones((widest + 2, 2)), jnp.ones((2, width))
        return len(products(lambda: with_fast_products(lambda: x @ weights, is_transpose=is_transpose)))

    assert (num_left(widest), num_left(widest + 1)) == (0, 1)


@pytest.mark.parametrize("num_neighbours", [128, 129])
def test_thin_products_with_many_neighbours_in_memory_are_left_alone_unless_they_are_small(num_neighbours):
    matrix, y = jnp.ones((4, 4)), jnp.ones((4, num_neighbours))
    assert bool(products(lambda: with_fast_products(lambda: matrix @ y))) == (num_neighbours > 128)
    # What is transposed before it is used has its first axis there.
    assert not products(lambda: with_fast_products(lambda: jax.vmap(jnp.dot, (None, 0))(matrix, y.T)))


def test_without_compilation_products_are_as_they_are():
    x, weights = jnp.ones((5, 2)), jnp.ones((2, 3))
    with jax.disable_jit():
        np.testing.assert_array_equal(with_fast_products(lambda: x @ weights), x @ weights)


@pytest.mark.parametrize("width", [1, 65])
def test_vectors_and_wide_products_are_left_alone(width):
    pull, bar = pull_of(plain, width)
    assert products_over_rows(lambda bar: with_fast_products(lambda: pull(bar)), bar) == products_over_rows(pull, bar)


def test_large_factors_are_left_alone():
    x, bar = jnp.ones((2**14, 4)), jnp.ones((2**14, 4))
    pull = jax.vjp(plain, jnp.eye(4), x)[1]
    assert (
        products_over_rows(lambda bar: with_fast_products(lambda: pull(bar)), bar) == products_over_rows(pull, bar) == 1
    )


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
    assert products_over_rows(lambda bar: with_fast_products(lambda: pull(bar)), bar) == 1


def test_a_function_that_is_called_twice_stays_one():
    pull, bar = pull_of(in_a_function, 8)
    calls = [
        e
        for e in jax.make_jaxpr(lambda bar: with_fast_products(lambda: pull(bar)))(bar).eqns
        if e.primitive.name == "jit"
    ]
    assert len(calls) == 2
    assert calls[0].params["jaxpr"] is calls[1].params["jaxpr"]


def test_a_hessian_goes_through(x64):
    pull, bar = pull_of(in_a_function, 3)
    found, expected = (
        jax.jacfwd(jax.jacrev(lambda bar, pull=p: pull(bar)[0].sum()))(bar)
        for p in (pull, lambda bar: with_fast_products(lambda: pull(bar)))
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.BacksolveAdjoint()])
def test_a_solve_and_its_gradient_have_no_slow_product(adjoint):
    network, y0 = nj.fields.MLP(dim=2, width=8, depth=2, key=jax.random.key(0)), jnp.ones((ROWS, 2))

    def loss(network):
        return jnp.sum(nj.odeint(network, y0, jnp.linspace(0.0, 1.0, 6), adjoint=adjoint).ys)

    assert not thin_products(loss, network)
    assert not products_over_rows(jax.grad(loss), network)
    assert not thin_products(jax.grad(loss), network)
