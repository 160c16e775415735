r"""The matrix products that a gradient for weights is made of, written as a CPU computes them fast.

A weight W that is applied to a batch of rows, X W, gets the gradient X̄ᵀ X or its transpose: a product over the rows of
both factors. XLA hands products to a fast library on a CPU, but not those whose first factor is meant to be transposed;
they take up to twice as long. Where the factors are narrow it is quicker to transpose the first one before.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun
from jax.extend.core.primitives import cond_p, dot_general_p, jit_p, remat_p, scan_p, while_p
from jaxtyping import Array

from node_jax.backend import on_cpu

Cotangent = TypeVar("Cotangent")
Found = TypeVar("Found")

_OVER_ROWS = (((0,), (0,)), ((), ()))
"""Of the matrices of a product the first axes are summed over; see `lax.dot_general`."""
_PLAIN = (((1,), (0,)), ((), ()))
_TRANSPARENT = (jit_p, scan_p, while_p, cond_p, remat_p)
"""What runs other programs as they are. A kernel that is written by hand, say, is left alone."""
_LARGEST = 2**12
"""Products of more elements are left alone: XLA gives them to several threads."""


def pull_fast(pull: Callable[[Cotangent], Found], cotangent: Cotangent) -> Found:
    """`pull(cotangent)`, the same but for rounding.

    Arguments:
        pull: a transpose, as from `jax.vjp`.
        cotangent: what it is applied to.
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
            equations = [new for equation in program.eqns for new in _rewrite_equation(equation, done)]
            done[id(program)] = program.replace(eqns=equations)
        else:
            done[id(program)] = program.replace(jaxpr=_rewrite(within, done))
    return done[id(program)]


def _is_program(x: Any) -> bool:
    return isinstance(x, ClosedJaxpr | Jaxpr)


def _rewrite_equation(equation: JaxprEqn, done: dict[int, Any]) -> Sequence[JaxprEqn]:
    if _is_slow(equation):
        return _rewrite_product(equation)
    if equation.primitive not in _TRANSPARENT:
        return [equation]
    return [equation.replace(params={name: _rewrite(value, done) for name, value in equation.params.items()})]


def _is_slow(equation: JaxprEqn) -> bool:
    if equation.primitive is not dot_general_p or equation.params["dimension_numbers"] != _OVER_ROWS:
        return False
    left, right = (cast(Any, factor.aval).shape for factor in equation.invars)
    return len(left) == len(right) == 2 and left[1] * right[1] <= _LARGEST


def _rewrite_product(product: JaxprEqn) -> Sequence[JaxprEqn]:
    """A product over the rows of both factors, as the product of the transposed first factor with the second."""

    def transpose_first(left: Array, right: Array) -> Array:
        # Without a barrier the compiler would put the transposition back into the product.
        columns = lax.optimization_barrier(left.T)
        return dot_general_p.bind(columns, right, **product.params | {"dimension_numbers": _PLAIN})

    left, right = product.invars
    new = jax.make_jaxpr(transpose_first)(left.aval, right.aval).jaxpr
    names = dict(zip([*new.invars, *new.outvars], [*product.invars, *product.outvars], strict=True))
    return [
        equation.replace(
            invars=[names.get(atom, atom) for atom in equation.invars],
            outvars=[names.get(atom, atom) for atom in equation.outvars],
        )
        for equation in new.eqns
    ]
