"""Compile a solve on its own, unless it is a part of a gradient that is being traced."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_OF_A_DERIVATIVE = ("JVPTracer", "LinearizeTracer")
_OF_A_RECORD = "DynamicJaxprTracer"
"""JAX's tracers by name: they are not all public, and of one that has another name a solve is compiled on its own."""

P = ParamSpec("P")
R = TypeVar("R")


def jit_unless_differentiated(function: Callable[P, R]) -> Callable[P, R]:
    """`equinox.filter_jit(function)`, or `function` as it is while a program is traced for its gradient.

    What is compiled on its own is traced as it is before it is traced for its gradient, and the first is thrown away
    where only the second is wanted: a third to a half of the time that tracing the gradient of a solve takes. In return
    equal solves that a program writes out one by one are each traced anew; `jax.lax.scan` traces them once.
    """
    compiled = eqx.filter_jit(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _is_differentiated_in_program(jax.tree.leaves((args, kwargs))):
            return compiled(*args, **kwargs)
        args, kwargs = jax.tree.map(_as_jax, (args, kwargs))
        return function(*args, **kwargs)

    return call


def _is_differentiated_in_program(leaves: list[object]) -> bool:
    """Whether a derivative for one of the `leaves` is being taken, and operations are recorded rather than run.

    `jax.checkpoint` records as well, but takes the derivative of the record later, which may be run operation by
    operation then.
    """
    if not any(type(leaf).__name__ in _OF_A_DERIVATIVE for leaf in leaves):
        return False
    # What depends on nothing has a tracer only where everything is recorded: within `jax.jit`, not within `jax.grad`.
    return type(jnp.zeros(())).__name__ == _OF_A_RECORD


def _as_jax(leaf: object) -> object:
    """NumPy's arrays as arrays of JAX, as which `equinox.filter_jit` would hand them on."""
    return jnp.asarray(leaf) if isinstance(leaf, (np.ndarray, np.generic)) else leaf
