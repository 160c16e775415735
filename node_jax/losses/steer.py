"""A random end of the solve."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from node_jax.types import Key


def steer_times(ts: Any, width: Any, *, key: Key) -> Float[Array, "*batch time"]:
    """`ts` with the last time t1 replaced by t1 + u, u uniform in (-b, b), and b = min(width, |t1 - time before|).

    A field that is stiff towards the end of the interval cannot settle there when the end moves. The value at the
    moved time stands for the one at t1 in the loss, so this suits flows and classifiers, and data that change little
    within the width. Pass it in training alone; a width of 0 returns `ts` as they are.

    Arguments:
        ts: sorted times in either direction, of shape (time,), or (batch, time) with a draw for each row. Rows that
            repeat their last time, as padding does, have all of these moved.
        width: b in units of time, not negative; a number, or one for each row. Times stay sorted: of several, only the
            last interval changes, and by no more than its length.
        key: random key; a new one in each step of training.

    Returns:
        Times of the same shape, t1 in the mean.

    Raises:
        ValueError: for a width that is negative or no number, and for `ts` without a time.

    Reference: Ghosh, Behl, Dupont, Torr & Namboodiri (2020), arXiv:2006.10711.

    Example:
        >>> import jax, jax.numpy as jnp, node_jax as nj
        >>> ts = nj.losses.steer_times(jnp.array([0.0, 1.0]), 0.3, key=jax.random.key(0))
        >>> bool((ts[0] == 0.0) & (abs(ts[1] - 1.0) < 0.3))
        True
    """
    times = jnp.asarray(ts)
    times = times if jnp.issubdtype(times.dtype, jnp.floating) else times.astype(jnp.result_type(float))
    if times.ndim == 0 or times.shape[-1] == 0:
        raise ValueError(f"steer_times: expected ts of shape (time,) or (batch, time), got {times.shape}.")
    width = jnp.asarray(width, times.dtype)
    if not isinstance(width, Tracer) and not bool(jnp.all(width >= 0)):
        raise ValueError(f"steer_times: expected a width of at least 0, in units of time, got {width}.")
    last = times[..., -1:]
    is_last = times == last
    # The time before t1 is the nearest other one: the furthest along of those that differ.
    direction = jnp.where(last < times[..., :1], -1, 1).astype(times.dtype)
    before = direction * jnp.max(jnp.where(is_last, -jnp.inf, times * direction), axis=-1, keepdims=True)
    before = jnp.where(jnp.all(is_last, axis=-1, keepdims=True), last, before)
    limit = jnp.minimum(width[..., None], abs(last - before))
    u = jax.random.uniform(key, last.shape, times.dtype, -1.0, 1.0)
    moved = last + limit * u
    # Rounding must not put it before the time before.
    moved = direction * jnp.maximum(moved * direction, before * direction)
    return jnp.where(is_last, moved, times)
