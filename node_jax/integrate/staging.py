"""Compile what is called from Python, and leave to the program around it what is traced already."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import DynamicJaxprTracer

P = ParamSpec("P")
R = TypeVar("R")


def jit_where_eager(function: Callable[P, R]) -> Callable[P, R]:
    """`equinox.filter_jit(function)`, or within a program that is being traced `function` as it is.

    A function that is compiled on its own is traced as it is before it is traced for its gradient, and the first is
    thrown away where only the second is wanted: a third of the time that tracing the gradient of a solve takes.
    """
    compiled = eqx.filter_jit(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _is_staged():
            return compiled(*args, **kwargs)
        args, kwargs = jax.tree.map(_as_jax, (args, kwargs))
        return function(*args, **kwargs)

    return call


def _is_staged() -> bool:
    """Whether operations are recorded rather than run: within `jax.jit`, whatever lies between.

    A `jax.shard_map` outside of it has tracers too, and runs every operation.
    """
    return isinstance(jnp.zeros(()), DynamicJaxprTracer)


def _as_jax(leaf: object) -> object:
    """NumPy's arrays as arrays of JAX, as which `equinox.filter_jit` would hand them on."""
    return jnp.asarray(leaf) if isinstance(leaf, (np.ndarray, np.generic)) else leaf
