"""States that are arrays with a last axis of components, and any number of batch axes before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def as_vectors(owner: str, y: Any, dim: int | None) -> Float[Array, "*batch dim"]:
    """A state as an array with a last axis of `dim` entries; `None` is any number.

    Raises:
        ValueError: for a state of another size.
    """
    y = jnp.asarray(y)
    if y.ndim < 1 or dim not in (None, y.shape[-1]):
        many = "dim" if dim is None else f"dim={dim}"
        raise ValueError(
            f"{owner}: expected a state whose last axis has {many} entries, got shape {y.shape}. Batch axes come "
            "first: (batch, dim)."
        )
    return y


def components(owner: str, y: Any, *names: str) -> tuple[Float[Array, "*batch"], ...]:
    """The components of a state of a system whose variables have these names, shape (*batch, number of names).

    Raises:
        ValueError: for a state of another size.
    """
    y = jnp.asarray(y)
    if y.ndim < 1 or y.shape[-1] != len(names):
        raise ValueError(f"{owner}: expected a state ({', '.join(names)}) of shape (..., {len(names)}), got {y.shape}.")
    return tuple(y[..., i] for i in range(len(names)))


def over_batch(function: Callable[..., Array], y: Float[Array, "*batch dim"], *more: Array) -> Array:
    """`function` of vectors, at each of the vectors of arrays with the same batch axes."""
    for _ in range(y.ndim - 1):
        function = jax.vmap(function)
    return function(y, *more)
