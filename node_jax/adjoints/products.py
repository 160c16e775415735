r"""The matrix products that a gradient for weights is made of, written as a CPU computes them fast.

A weight W that is applied to a batch of rows, Y = X W, gets the gradient XᵀȲ: a product over the rows of both factors.
XLA hands products to a fast library on a CPU, but not those whose first factor is meant to be transposed; they take up
to twice as long. A narrow first factor is transposed before, which takes less than that.

Which factor is the first is settled by the compiler: JAX writes ȲᵀX and transposes the result once, or twice where W
is stored transposed, and the compiler takes transpositions of a result into its product.

The fast library is YNNPACK (`YnnFusionThunk` of XLA's CPU compiler); the other products go to Eigen (`DotThunk`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun
from jax.extend.core.primitives import cond_p, dot_general_p, jit_p, remat_p, scan_p, transpose_p, while_p
from jaxtyping import Array

from node_jax.backend import on_cpu

Cotangent = TypeVar("Cotangent")
Found = TypeVar("Found")

_OVER_ROWS = (((0,), (0,)), ((), ()))
"""Of the matrices of a product the first axes are summed over; see `lax.dot_general`."""
_PLAIN = (((1,), (0,)), ((), ()))
"""A product of matrices as it is written."""
_TRANSPARENT = (jit_p, scan_p, while_p, cond_p, remat_p)
"""What runs other programs as they are. A kernel that is written by hand, say, is left alone."""
_LARGEST_RESULT = 2**12
"""Products of more elements are left alone: XLA gives them to several threads."""
_LARGEST_FACTOR = 2**15
"""A factor of more elements takes too long to transpose."""


def pull_fast(pull: Callable[[Cotangent], Found], cotangent: Cotangent) -> Found:
    """`pull(cotangent)`, with narrow products over rows in the order that is fast on a CPU; elsewhere as it is.

    Arguments:
        pull: a transpose, as from `jax.vjp`: a linear function from a pytree of arrays to another.
        cotangent: what it is applied to, of any shapes.

    Returns:
        What `pull` returns, the same but for rounding.
    """
    if not on_cpu():
        return pull(cotangent)
    closed, shapes = jax.make_jaxpr(pull, return_shape=True)(cotangent)
    leaves = jaxpr_as_fun(_rewrite(closed, {}))(*jax.tree.leaves(cotangent))
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _rewrite(program: Any, done: dict[int, Any]) -> Any:
    """A program with its products over rows written anew, those within functions that it calls too.

    Arguments:
        program: the program; a tuple is searched for programs, and anything else left as it is.
        done: what programs were rewritten to, by their identity: a function that is called twice stays one.
    """
    if isinstance(program, tuple):
        return tuple(_rewrite(part, done) for part in program) if any(map(_is_program, program)) else program
    if not _is_program(program):
        return program
    if id(program) not in done:
        # Up to jax 0.10 a program with its constants is another type.
        within = getattr(program, "jaxpr", program)
        if within is program:
            turned = _turned_products(program)
            equations = [new for equation in program.eqns for new in _rewrite_equation(equation, turned, done)]
            done[id(program)] = program.replace(eqns=equations)
        else:
            done[id(program)] = program.replace(jaxpr=_rewrite(within, done))
    return done[id(program)]


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


def _rewrite_equation(equation: JaxprEqn, turned: set[Any], done: dict[int, Any]) -> Sequence[JaxprEqn]:
    if _is_slow(equation):
        return _rewrite_product(equation, is_turned=equation.outvars[0] in turned)
    if equation.primitive not in _TRANSPARENT:
        return [equation]
    return [equation.replace(params={name: _rewrite(value, done) for name, value in equation.params.items()})]


def _is_slow(equation: JaxprEqn) -> bool:
    """Whether it is a product over rows, of sizes for which another order is faster."""
    if equation.primitive is not dot_general_p or equation.params["dimension_numbers"] != _OVER_ROWS:
        return False
    left, right = (cast(Any, factor.aval).shape for factor in equation.invars)
    # Shapes of an exported program may not be known yet.
    if not (len(left) == len(right) == 2 and all(isinstance(size, int) for size in (*left, *right))):
        return False
    # A vector, or rather a matrix of one column, has a fast product of its own.
    is_narrow = left[1] * right[1] <= _LARGEST_RESULT and max(math.prod(left), math.prod(right)) <= _LARGEST_FACTOR
    return is_narrow and min(left[1], right[1]) > 1


def _rewrite_product(product: JaxprEqn, *, is_turned: bool) -> Sequence[JaxprEqn]:
    """A product over the rows of both factors, with the one transposed that the compiler would have first."""

    def multiply(left: Array, right: Array) -> Array:
        # Without a barrier the compiler would put the transposition back into the product.
        columns = lax.optimization_barrier(left.T)
        return dot_general_p.bind(columns, right, **product.params | {"dimension_numbers": _PLAIN})

    def multiply_turned(left: Array, right: Array) -> Array:
        return multiply(right, left).T

    left, right = product.invars
    new = jax.make_jaxpr(multiply_turned if is_turned else multiply)(left.aval, right.aval).jaxpr
    names = dict(zip([*new.invars, *new.outvars], [*product.invars, *product.outvars], strict=True))
    return [
        equation.replace(
            invars=[names.get(atom, atom) for atom in equation.invars],
            outvars=[names.get(atom, atom) for atom in equation.outvars],
        )
        for equation in new.eqns
    ]
