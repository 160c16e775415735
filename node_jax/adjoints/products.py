"""The matrix products of a solve and of its gradient, written as a CPU computes them fast.

XLA hands products to a fast library on a CPU, where a call takes half a microsecond however small the product is.

**Thin products.** A state of a few numbers goes through the first weight of a network, Y = X W, in a product that sums
over those few alone, and so does a cotangent through its last. Written as a sum of columns times rows,

    Y = Σ_k X[:, k] W[k, :],

it needs no call, and is a part of the arithmetic around it. W is brought into the order of its rows before, which is
done once where it is the weight of a loop: else neighbours in Y come from far apart.

**Products over rows.** A weight that is applied to a batch of rows gets the gradient XᵀȲ: a product over the rows of
both factors. The library does not take those whose first factor is meant to be transposed; they take up to twice as
long. The narrower factor is transposed before, which takes less than that, and if that is the second, so is the result
after. Which factor is the first is settled by the compiler: JAX writes ȲᵀX and transposes the result once, or twice
where W is stored transposed, and the compiler takes transpositions of a result into its product.

The fast library is YNNPACK (`YnnFusionThunk` of XLA's CPU compiler); the other products go to Eigen (`DotThunk`).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn, jaxpr_as_fun
from jax.extend.core.primitives import dot_general_p
from jaxtyping import Array

from node_jax.adjoints.rewriting import Block, Call, Instead, Rewriter
from node_jax.backend import on_cpu

Found = TypeVar("Found")

_OVER_ROWS = (((0,), (0,)), ((), ()))
"""Of the matrices of a product the first axes are summed over; see `lax.dot_general`."""
_PLAIN = (((1,), (0,)), ((), ()))
"""A product of matrices as it is written."""
_LARGEST_OVER_ROWS = 2**12
"""Products over rows with more elements are left alone: XLA gives them to several threads."""
_LARGEST_TRANSPOSED = 2**15
"""A factor with more elements takes too long to transpose."""
_LARGEST_SUM = 4
"""A product that sums over more numbers is worth a call."""
_NARROW = 32
_NARROW_IN_TRANSPOSE = 64
"""With more columns a call hardly matters in a thin product, and what is made a part of more arithmetic takes longer to
compile."""
_LARGEST_THIN = 2**9
"""A thin product with so few elements is faster without a call, whatever its shape."""


def with_fast_products(program: Callable[[], Found], *, is_transpose: bool = False) -> Found:
    """`program()`, with small matrix products as they are fast on a CPU; elsewhere as it is.

    Arguments:
        program: returns a pytree of arrays, and may be a part of a larger program: what it closes over may be traced.
        is_transpose: whether its products are mostly those of transposes, as in a backward pass.

    Returns:
        What `program` returns, the same but for rounding.
    """
    if not on_cpu() or cast(Any, jax.config).jax_disable_jit:
        return program()
    closed, shapes = jax.make_jaxpr(program, return_shape=True)()
    widest = _NARROW_IN_TRANSPOSE if is_transpose else _NARROW
    rewritten, _ = Rewriter(functools.partial(_instead_of, widest=widest)).rewrite(closed)
    return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(rewritten)())


def _instead_of(product: JaxprEqn, block: Block, *, widest: int) -> Instead | None:
    """What is faster than a product of two matrices; `None` if there is nothing.

    Arguments:
        product: an equation, which need not be a product.
        block: the program that it is in.
        widest: how many columns a thin product may have: numbers that lie side by side in memory.
    """
    if product.primitive is not dot_general_p:
        return None
    left, right, result = (cast(Any, atom.aval) for atom in (*product.invars, *product.outvars))
    over, batch = product.params["dimension_numbers"]
    # Shapes of an exported program may not be known yet.
    is_known = all(isinstance(size, int) for size in (*left.shape, *right.shape))
    # A vector, or rather a matrix of one column, has a fast product of its own.
    if not is_known or min(left.ndim, right.ndim) < 2 or len(over[0]) != 1 or batch[0] or min(result.shape) < 2:
        return None
    is_turned = product.outvars[0] in block.turned
    # In memory the last axis is the one of neighbours, or the first of a result that is transposed.
    num_columns = result.shape[0 if is_turned else -1]
    is_small = num_columns <= widest or result.size <= _LARGEST_THIN
    is_thin = 0 < left.shape[over[0][0]] <= _LARGEST_SUM and is_small
    if is_thin and left.dtype == right.dtype == result.dtype and result.dtype.itemsize >= 4:
        return _thin(product, block, is_turned=is_turned)
    is_narrow = result.size <= _LARGEST_OVER_ROWS and max(left.size, right.size) <= _LARGEST_TRANSPOSED
    if (over, batch) == _OVER_ROWS and result.ndim == 2 and is_narrow:
        function = _turned_product_over_rows if is_turned else _product_over_rows
        return Instead(Call(function, tuple(product.params.items())), tuple(product.invars))
    return None


def _thin(product: JaxprEqn, block: Block, *, is_turned: bool) -> Instead:
    """A thin product, whose second factor, or first if the result is transposed, is brought into the order of rows."""
    (over, _), place = product.params["dimension_numbers"], 0 if is_turned else 1
    factors, axes = list(product.invars), [over[0][0], over[1][0]]
    source = block.source_of(factors[place])
    if source is not None:
        factors[place], axes[place] = source, 1 - axes[place]
    call = Call(_turned_thin_product if is_turned else _thin_product, axes[1 - place])
    prepared = ((place, Call(_with_axis_first, axes[place])),) if axes[place] else ()
    return Instead(call, tuple(factors), prepared)


@functools.partial(jax.jit, static_argnames="settings")
def _with_axis_first(x: Array, settings: int) -> Array:
    """`x` with another axis first, `settings`."""
    return _moved_to_front(x, settings)


@functools.partial(jax.jit, static_argnames="settings")
def _thin_product(left: Array, right: Array, settings: int) -> Array:
    """The sum of outer products over an axis of the first factor, `settings`, and the first axis of the second; the
    other axes of both, in this order, are those of the result.
    """

    def term(k: int) -> Array:
        mine = lax.index_in_dim(left, k, settings, keepdims=False)
        # With what a loop does not change first, terms of all stages of a step are the same kernel to XLA.
        return right[k] * lax.expand_dims(mine, range(mine.ndim, left.ndim + right.ndim - 2))

    return functools.reduce(operator.add, map(term, range(len(right))))


@functools.partial(jax.jit, static_argnames="settings")
def _turned_thin_product(left: Array, right: Array, settings: int) -> Array:
    """The same as the transpose of a product whose factors have changed places."""
    return _thin_product(right, left, settings).T


@functools.partial(jax.jit, static_argnames="settings")
def _product_over_rows(left: Array, right: Array, settings: tuple[tuple[str, Any], ...]) -> Array:
    """The product (p, q) over the rows of both factors, (row, p) and (row, q), with the narrower transposed before;
    `settings` are the parameters of the product.
    """
    params = dict(settings) | {"dimension_numbers": _PLAIN}
    if right.shape[1] < left.shape[1]:
        return _materialized(_materialized(dot_general_p.bind(_moved_to_front(right, 1), left, **params)).T)
    return dot_general_p.bind(_moved_to_front(left, 1), right, **params)


@functools.partial(jax.jit, static_argnames="settings")
def _turned_product_over_rows(left: Array, right: Array, settings: tuple[tuple[str, Any], ...]) -> Array:
    """The same as the transpose of a product whose factors have changed places."""
    return _product_over_rows(right, left, settings).T


def _moved_to_front(x: Array, axis: int) -> Array:
    """`x` with another axis first, in memory: whatever `x` is computed from is not computed again in what reads it.

    A short axis is moved by a product with the unit matrix, which is a call of the library. A transposition is a
    kernel, and one of a few numbers XLA unrolls, until it takes as long to compile as four others.
    """
    if x.shape[axis] > _LARGEST_SUM:
        return _materialized(jnp.moveaxis(x, axis, 0))
    unit = jnp.asarray(np.eye(x.shape[axis]), x.dtype)
    return lax.dot_general(unit, x, (((1,), (axis,)), ((), ())), precision=lax.Precision.HIGHEST)


def _materialized(x: Array) -> Array:
    """`x`, which is written to memory before the compiler goes on: else it would take a transposition into a product,
    or carry it on through the sum of products that follows, a term in each of its rounds over the whole program.
    """
    return lax.optimization_barrier(x)
