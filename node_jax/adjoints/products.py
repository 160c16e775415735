"""The matrix products of a solve and of its gradient, written as a CPU computes them fast.

XLA hands products to a fast library on a CPU, where a call takes half a microsecond however small the product is.

**Thin products.** A state of a few numbers goes through the first weight of a network, Y = X W, in a product that sums
over those few alone, and so does a cotangent through its last. Written as a sum of columns times rows,

    Y = Σ_k X[:, k] W[k, :],

it needs no call, and is a part of the arithmetic around it.

**Products over rows.** A weight that is applied to a batch of rows gets the gradient XᵀȲ: a product over the rows of
both factors. The library does not take those whose first factor is meant to be transposed; they take up to twice as
long. A narrow first factor is transposed before, which takes less than that. Which factor is the first is settled by
the compiler: JAX writes ȲᵀX and transposes the result once, or twice where W is stored transposed, and the compiler
takes transpositions of a result into its product.

The fast library is YNNPACK (`YnnFusionThunk` of XLA's CPU compiler); the other products go to Eigen (`DotThunk`).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun
from jax.extend.core.primitives import cond_p, dot_general_p, jit_p, remat_p, scan_p, transpose_p, while_p
from jaxtyping import Array

from node_jax.backend import on_cpu

Found = TypeVar("Found")

_OVER_ROWS = (((0,), (0,)), ((), ()))
"""Of the matrices of a product the first axes are summed over; see `lax.dot_general`."""
_PLAIN = (((1,), (0,)), ((), ()))
"""A product of matrices as it is written."""
_TRANSPARENT = (jit_p, scan_p, while_p, cond_p, remat_p)
"""What runs other programs as they are. A kernel that is written by hand, say, is left alone."""
_LARGEST_OVER_ROWS = 2**12
"""Products over rows with more elements are left alone: XLA gives them to several threads."""
_LARGEST_TRANSPOSED = 2**15
"""A factor with more elements takes too long to transpose."""
_LARGEST_SUM = 4
"""A product that sums over more numbers is worth a call."""
_NARROW = 32
_NARROW_IN_TRANSPOSE = 64
"""With more columns a call hardly matters in a thin product, and with few rows the library is faster."""
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
    rewriter = _Rewriter(_NARROW_IN_TRANSPOSE if is_transpose else _NARROW)
    return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(rewriter.rewrite(closed))())


class _Rewriter:
    """Writes the products in a program anew.

    Arguments:
        widest: how many columns a thin product may have: numbers that lie side by side in memory.
    """

    def __init__(self, widest: int) -> None:
        self.widest = widest
        # By identity: a function that is called twice stays one.
        self.done: dict[int, Any] = {}
        # What a product becomes, by function, settings and factors.
        self.calls: dict[Any, JaxprEqn] = {}

    def rewrite(self, program: Any) -> Any:
        """A program with its products written anew, those within functions that it calls too.

        Of a tuple the programs in it; anything else is left as it is.
        """
        if isinstance(program, tuple):
            parts = tuple(map(self.rewrite, program)) if any(map(_is_program, program)) else program
            return program if all(map(operator.is_, parts, program)) else parts
        if not _is_program(program):
            return program
        if id(program) not in self.done:
            # Up to jax 0.10 a program with its constants is another type.
            within = getattr(program, "jaxpr", program)
            if within is program:
                self.done[id(program)] = self._with_equations_rewritten(program)
            else:
                rewritten = self.rewrite(within)
                self.done[id(program)] = program if rewritten is within else program.replace(jaxpr=rewritten)
        return self.done[id(program)]

    def _with_equations_rewritten(self, program: Jaxpr) -> Jaxpr:
        turned = _turned_products(program)
        equations = [self._rewrite_equation(equation, turned) for equation in program.eqns]
        # What nothing was done to stays the same object, as which jax has it in its caches.
        is_same = all(map(operator.is_, equations, program.eqns))
        return program if is_same else program.replace(eqns=equations)

    def _rewrite_equation(self, equation: JaxprEqn, turned: set[Any]) -> JaxprEqn:
        if equation.primitive is dot_general_p:
            return self._rewrite_product(equation, is_turned=equation.outvars[0] in turned)
        if equation.primitive not in _TRANSPARENT:
            return equation
        params = {name: self.rewrite(value) for name, value in equation.params.items()}
        is_same = all(params[name] is value for name, value in equation.params.items())
        return equation if is_same else equation.replace(params=params)

    def _rewrite_product(self, product: JaxprEqn, *, is_turned: bool) -> JaxprEqn:
        """A call of a function in place of a product; the product itself where that is best.

        Arguments:
            product: the product.
            is_turned: whether its result is transposed before it is used.
        """
        found = self._instead_of(product, is_turned=is_turned)
        if found is None:
            return product
        factors = tuple(atom.aval for atom in product.invars)
        if (found, factors) not in self.calls:
            function, settings = found
            program = jax.make_jaxpr(functools.partial(function, settings=settings))(*factors)
            (self.calls[found, factors],) = program.eqns
        return self.calls[found, factors].replace(invars=product.invars, outvars=product.outvars)

    def _instead_of(self, product: JaxprEqn, *, is_turned: bool) -> tuple[Callable[..., Array], Any] | None:
        """A function of both factors that is faster than their product, and its settings; `None` if there is none."""
        left, right, result = (cast(Any, atom.aval) for atom in (*product.invars, *product.outvars))
        over, batch = product.params["dimension_numbers"]
        # Shapes of an exported program may not be known yet.
        is_known = all(isinstance(size, int) for size in (*left.shape, *right.shape))
        # A vector, or rather a matrix of one column, has a fast product of its own.
        if not is_known or min(left.ndim, right.ndim) < 2 or len(over[0]) != 1 or batch[0] or min(result.shape) < 2:
            return None
        # In memory the last axis is the one of neighbours, or the first of a result that is transposed.
        num_columns = result.shape[0 if is_turned else -1]
        is_small = num_columns <= self.widest or result.size <= _LARGEST_THIN
        is_thin = 0 < left.shape[over[0][0]] <= _LARGEST_SUM and is_small
        if is_thin and left.dtype == right.dtype == result.dtype and result.dtype.itemsize >= 4:
            return _turned_thin_product if is_turned else _thin_product, (over[0][0], over[1][0])
        is_narrow = result.size <= _LARGEST_OVER_ROWS and max(left.size, right.size) <= _LARGEST_TRANSPOSED
        if (over, batch) == _OVER_ROWS and result.ndim == 2 and is_narrow:
            return _turned_product_over_rows if is_turned else _product_over_rows, tuple(product.params.items())
        return None


def _is_program(x: Any) -> bool:
    return isinstance(x, ClosedJaxpr | Jaxpr)


def _turned_products(program: Jaxpr) -> set[Any]:
    """The results that are transposed before they are used, once or another odd number of times."""
    readers: dict[Any, list[JaxprEqn | None]] = {}
    for equation in program.eqns:
        for atom in equation.invars:
            if isinstance(atom, Var):
                readers.setdefault(atom, []).append(equation)
    for atom in program.outvars:
        if isinstance(atom, Var):
            readers.setdefault(atom, []).append(None)
    turned: set[Any] = set()
    for equation in reversed(program.eqns):
        if equation.primitive is transpose_p and equation.params["permutation"] == (1, 0):
            (source,) = equation.invars
            if equation.outvars[0] not in turned and len(readers[source]) == 1:
                turned.add(source)
    return turned


@functools.partial(jax.jit, static_argnames="settings")
def _thin_product(left: Array, right: Array, settings: tuple[int, int]) -> Array:
    """The product over an axis of each of the factors, `settings`, as a sum of outer products."""

    def term(k: int) -> Array:
        pair = zip((left, right), settings, strict=True)
        mine, other = (lax.index_in_dim(factor, k, axis, keepdims=False) for factor, axis in pair)
        return lax.expand_dims(mine, range(mine.ndim, mine.ndim + other.ndim)) * other

    return functools.reduce(operator.add, map(term, range(left.shape[settings[0]])))


@functools.partial(jax.jit, static_argnames="settings")
def _turned_thin_product(left: Array, right: Array, settings: tuple[int, int]) -> Array:
    """The same as the transpose of a product whose factors have changed places."""
    return _thin_product(right, left, settings[::-1]).T


@functools.partial(jax.jit, static_argnames="settings")
def _product_over_rows(left: Array, right: Array, settings: tuple[tuple[str, Any], ...]) -> Array:
    """The product over the rows of both factors, with the first transposed before. `settings` are its parameters."""
    # Without a barrier the compiler would put the transposition back into the product.
    columns = lax.optimization_barrier(left.T)
    return dot_general_p.bind(columns, right, **dict(settings) | {"dimension_numbers": _PLAIN})


@functools.partial(jax.jit, static_argnames="settings")
def _turned_product_over_rows(left: Array, right: Array, settings: tuple[tuple[str, Any], ...]) -> Array:
    """The same as the transpose of a product whose factors have changed places."""
    return _product_over_rows(right, left, settings).T
