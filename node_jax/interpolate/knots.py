"""The times of a path: what a user passes as arrays or an error, and where a time lies among them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from node_jax.types import Time

_COMPARE_ALL = 64
"""Up to so many knots comparing a time with all of them is as fast as bisection."""


def as_knots(owner: str, ts: Any, values: Any) -> tuple[Float[Array, " time"], PyTree[Array]]:
    """`ts` and `values` as floating-point arrays of equal length, checked where they are known.

    Times that are known only at run time and turn out not to be finite and sorted make all values NaN.

    Arguments:
        owner: who asks, for the errors.
        ts: times of shape (time,).
        values: a pytree of arrays of shape (time, ...); a list is an array.
    """
    is_known = not any(isinstance(t, Tracer) for t in jax.tree.leaves(ts))
    times = _as_times(owner, ts, is_known)
    values = jnp.asarray(values) if isinstance(values, list) else values
    leaves = jax.tree_util.tree_leaves_with_path(values)
    if not leaves:
        raise ValueError(f"{owner}: expected values with at least one array, got an empty pytree.")
    for path, leaf in leaves:
        _check_values(owner, f"values{jax.tree_util.keystr(path)}", leaf, times.shape[0])

    def convert(leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))
        return array if is_known else jnp.where(is_sorted, array, jnp.nan)

    is_sorted = True if is_known else jnp.all(jnp.isfinite(times)) & jnp.all(times[1:] >= times[:-1])
    return times, jax.tree.map(convert, values)


def _as_times(owner: str, ts: Any, is_known: bool) -> Float[Array, " time"]:
    array = np.asarray(ts) if is_known else jnp.asarray(ts)
    if array.ndim != 1 or array.shape[0] == 0:
        raise ValueError(
            f"{owner}: expected ts of shape (time,) with at least one time, got shape {array.shape}. For paths of many "
            f"trajectories write jax.vmap(nj.interpolate.{owner})(ts, values)."
        )
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{owner}: expected ts to hold real numbers, got dtype {array.dtype}.")
    if is_known:
        known = np.asarray(array).astype(float)
        for i in np.flatnonzero(~np.isfinite(known))[:1]:
            raise ValueError(
                f"{owner}: expected finite times, got ts[{i}] = {known[i]}. Drop rows without a time; NaN stands for a "
                "missing value in values alone."
            )
        for i in np.flatnonzero(np.diff(known) < 0)[:1]:
            raise ValueError(
                f"{owner}: expected ts to be sorted, non-decreasing, got ts[{i}] = {known[i]} before ts[{i + 1}] = "
                f"{known[i + 1]}. Sort the times, and the values with them."
            )
    times = jnp.asarray(ts if isinstance(ts, jax.Array) else array)
    return times if jnp.issubdtype(times.dtype, jnp.floating) else times.astype(jnp.result_type(float))


def _check_values(owner: str, where: str, leaf: Any, num_times: int) -> None:
    shape = np.shape(leaf)
    if not shape or shape[0] != num_times:
        raise ValueError(
            f"{owner}: expected {where} of shape (time, ...) with {num_times} rows, one for each of ts, got shape "
            f"{shape}. Time is the first axis; a batch is made by jax.vmap(nj.interpolate.{owner})(ts, values)."
        )
    dtype = jnp.result_type(leaf)
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"{owner}: expected {where} to hold real numbers, got dtype {dtype}.")
    if isinstance(leaf, Tracer) or not jnp.issubdtype(dtype, jnp.floating):
        return
    is_empty = np.isnan(np.asarray(leaf).astype(float)).all(axis=0)
    if is_empty.any():
        channel = "".join(f", {i}" for i in np.argwhere(is_empty)[0])
        raise ValueError(
            f"{owner}: expected a value in every channel, got only NaN in {where}[:{channel}]. Leave the channel out, "
            "or put the value there that stands for no measurement, such as 0."
        )


def last_before(ts: Float[Array, " time"], t: Time) -> Int[Array, ""]:
    """The last knot at or before t, the first of all if there is none."""
    method = "compare_all" if ts.shape[0] <= _COMPARE_ALL else "scan"
    count = jnp.searchsorted(ts, t, side="right", method=method).astype(jnp.int32)
    return jnp.maximum(count - 1, 0)


def segment_around(ts: Float[Array, " time"], t: Time) -> Int[Array, ""]:
    """The knot at which the segment around t begins; from the last time on the last segment that has a length."""
    info = jnp.finfo(ts.dtype)
    just_before_end = ts[-1] - jnp.maximum(info.eps * abs(ts[-1]), info.tiny)
    return last_before(ts, jnp.minimum(t, jax.lax.stop_gradient(just_before_end).astype(t.dtype)))


def place_in(start: Time, end: Time, t: Time) -> tuple[Time, Time]:
    """θ from 0 at `start` to 1 at `end`, the nearer of the two for t beyond them; and dθ/dt there.

    dθ/dt is zero beyond the ends, but for a rounding error: the last stage of a step may lie a bit after its end.
    """
    length = end - start
    has_length = length > 0
    safe = jnp.where(has_length, length, 1)
    per_time = jnp.where(has_length, 1 / safe, 0)
    # A quotient, which is exactly 1 at the end.
    theta = jnp.where(has_length, (t - start) / safe, 0)
    slack = 8 * jnp.finfo(t.dtype).eps * jnp.maximum(abs(start), abs(end)) * per_time
    is_inside = (theta >= -slack) & (theta <= 1 + slack)
    # Within rounding t goes on: so does the derivative, of which `jnp.clip` would leave a half or nothing.
    theta = jnp.where(is_inside, theta, jnp.where(theta < 0, 0, 1))
    return theta, jnp.where(is_inside, per_time, 0)
