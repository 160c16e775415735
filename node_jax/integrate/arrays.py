"""Python numbers become arrays, so that a new value compiles nothing anew and no gradient is lost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.controllers import AbstractController


def with_arrays(controller: AbstractController, dtype: Any) -> AbstractController:
    """`controller` with its numbers as arrays in the dtype of the times."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if isinstance(leaf, (int, float)) else leaf, controller)


def close(function: Callable[..., Any], *examples: Any) -> Any:
    """`function` as a pytree whose leaves are all the arrays that it closes over, so that a gradient rule sees them.

    Arguments:
        function: what to convert.
        examples: arguments of the shapes and dtypes that it will be called with.
    """
    converted = eqx.filter_closure_convert(function, *examples)
    # A Python number would be a constant with a gradient of 0.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, (float, complex)) else leaf, converted)
