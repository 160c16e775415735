"""Python numbers become arrays, so that a new value compiles nothing anew and no gradient is lost."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from node_jax.backend import on_cpu
from node_jax.controllers import AbstractController
from node_jax.stepping.controls import are_read


def with_arrays(controller: AbstractController, dtype: Any) -> AbstractController:
    """`controller` with its numbers as arrays in the dtype of the times."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if isinstance(leaf, (int, float)) else leaf, controller)


class Closed(eqx.Module):
    """A traced function, as a pytree whose leaves are all the arrays that it closes over.

    It takes arguments of the shapes and dtypes that it was traced with, wherever it is called: also where types tell of
    mesh axes that it was not traced with, inside `jax.shard_map`.
    """

    arrays: list[Any]
    jaxpr: Any = eqx.field(static=True)
    out_treedef: Any = eqx.field(static=True)
    out_static: Any = eqx.field(static=True)
    is_read: tuple[bool, ...] = eqx.field(static=True)
    """Of `arrays`, then of the arguments' arrays. The gradient of one that is not would be an array of zeros."""

    def __call__(self, *arguments: Any) -> Any:
        """The function's value."""
        inputs = [*self.arrays, *jax.tree.leaves(eqx.filter(arguments, eqx.is_array))]
        read = [x for x, is_read in zip(inputs, self.is_read, strict=True) if is_read]
        out = _evaluate(self.jaxpr, self.is_read, read)
        return eqx.combine(jax.tree.unflatten(self.out_treedef, out), self.out_static)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(jaxpr: Any, is_read: tuple[bool, ...], inputs: list[Any]) -> list[Any]:
    """One function for all evaluations: it is traced and differentiated once, and each of them is a call of it."""
    remaining = iter(inputs)
    values = [next(remaining) if flag else None for flag in is_read]
    num_consts = len(jaxpr.constvars)
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, values[:num_consts]))(*values[num_consts:])


def close(function: Callable[..., Any], *examples: Any) -> Closed:
    """`function` as a pytree whose leaves are all the arrays that it closes over, so that a gradient rule sees them.

    Arguments:
        function: what to convert.
        examples: arguments of the shapes and dtypes that it will be called with.
    """
    with products_in_full_precision():
        closed, out, out_static = eqx.filter_make_jaxpr(function)(*examples)
    # A Python number would be a constant with a gradient of 0.
    arrays = [jnp.asarray(const) if isinstance(const, (float, complex)) else const for const in closed.consts]
    is_read = are_read(closed.jaxpr, [*closed.jaxpr.constvars, *closed.jaxpr.invars])
    return Closed(arrays, closed.jaxpr, jax.tree.structure(out), out_static, is_read)


def products_in_full_precision() -> AbstractContextManager[Any]:
    """Matrix products of float32 in float32, unless `jax.default_matmul_precision` says otherwise.

    Accelerators round the factors, to 10 bits on a GPU and to 8 on a TPU. The error estimate of a step would see that
    as an error of its own, which no smaller step makes smaller.
    """
    if on_cpu() or jax.default_matmul_precision.value is not None:
        return nullcontext()
    return jax.default_matmul_precision("highest")
