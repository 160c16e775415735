"""States of mechanical systems: positions and momenta (or velocities), as one array or as a pair."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.types import State


def check_dim(owner: str, dim: int | None) -> None:
    """Refuse a number of entries that does not fall into two halves; `None` is any."""
    if dim is not None and (not isinstance(dim, int) or dim < 2 or dim % 2):
        raise ValueError(
            f"{owner}: expected dim to be an even integer of at least 2, both halves together, got {dim!r}."
        )


def halves(owner: str, y: Any, dim: int | None = None) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """Both halves of a state.

    Arguments:
        owner: who asks, for the error.
        y: an array with both halves on its last axis, positions first, or a pair of arrays of one shape, which is the
            form that symplectic solvers take.
        dim: entries of the state, positions and momenta together; `None` is any even number.

    Raises:
        ValueError: for an odd or another number of entries, or halves of different shapes.
    """
    if isinstance(y, tuple):
        first, second = (jnp.asarray(half) for half in y) if len(y) == 2 else (jnp.zeros(()), jnp.zeros((1,)))
        sizes = [jnp.shape(half) for half in jax.tree.leaves(y)]
        is_fine = first.shape == second.shape and first.ndim > 0 and first.size > 0
        found = 2 * first.shape[-1] if is_fine else 0
    else:
        whole = jnp.asarray(y)
        sizes = whole.shape
        found = whole.shape[-1] if whole.ndim else 0
        is_fine = found > 0 and found % 2 == 0
        first, second = jnp.split(whole, 2, axis=-1) if is_fine else (whole, whole)
    if not is_fine or dim not in (None, found):
        many = "an even number of" if dim is None else f"dim={dim}"
        raise ValueError(
            f"{owner}: expected a state (q, p) whose last axis has {many} entries, positions first, or a pair of "
            f"arrays with half of them each, got shape {sizes}. Batch axes come first: (batch, dim)."
        )
    return first, second


def joined_as(y: Any, first: Float[Array, "*batch n"], second: Float[Array, "*batch n"]) -> State:
    """Two halves in the form of `y`."""
    return (first, second) if isinstance(y, tuple) else jnp.concatenate([first, second], axis=-1)


def call_scalar(owner: str, function: Any, states: tuple[Array, ...], args: Any) -> Float[Array, ""]:
    """A scalar function of one state, such as an energy: `function(*states)`, with `args` behind where there are any.

    Raises:
        ValueError: if what it returns is no scalar.
    """
    value = jnp.asarray(function(*states) if args is None else function(*states, args))
    if value.shape != ():
        raise ValueError(
            f"{owner}: expected a scalar for one state, got shape {value.shape}. Sum over the last axis; batch axes "
            "are taken care of."
        )
    return value
