"""Something in place of missing values, which are NaN."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from node_jax.tree import expand_like


def fill_with_last(values: PyTree[Array]) -> PyTree[Array]:
    """Every NaN by the value last observed before it, those at the start by the first one observed.

    The gradient flows to the observed values. A channel without any stays NaN.
    """

    def fill(leaf: Array) -> Array:
        before, after, safe = _neighbours(leaf)
        last = jnp.where(before < 0, after, before)
        return jnp.where(last < 0, jnp.nan, jnp.take_along_axis(safe, last, axis=0))

    return jax.tree.map(lambda leaf: fill(leaf) if _may_miss(leaf) else leaf, values)


def fill_between(ts: Float[Array, " time"], values: PyTree[Array]) -> PyTree[Array]:
    """Every NaN by the line through the values observed before and after it, those at the ends by the nearest one.

    The gradient flows to the observed values, and to the times. A channel without any value stays NaN.
    """

    def fill(leaf: Array) -> Array:
        before, after, safe = _neighbours(leaf)
        start, end = jnp.where(before < 0, after, before), jnp.where(after < 0, before, after)
        length = ts[end] - ts[start]
        has_length = length > 0
        theta = jnp.where(has_length, (expand_like(ts, leaf) - ts[start]) / jnp.where(has_length, length, 1), 0)
        theta = theta.astype(leaf.dtype)
        ends = (jnp.take_along_axis(safe, index, axis=0) for index in (start, end))
        return jnp.where(end < 0, jnp.nan, sum(w * x for w, x in zip((1 - theta, theta), ends, strict=True)))

    return jax.tree.map(lambda leaf: fill(leaf) if _may_miss(leaf) else leaf, values)


def _may_miss(leaf: Array) -> bool:
    """Whether an entry is NaN, or may be at run time."""
    return isinstance(leaf, Tracer) or bool(np.isnan(np.asarray(leaf).astype(float)).any())


def _neighbours(leaf: Array) -> tuple[Int[Array, "time ..."], Int[Array, "time ..."], Array]:
    """The observed rows at or before and at or after each entry, -1 for none; the entries with 0 in place of NaN."""
    is_missing: Bool[Array, "time ..."] = jnp.isnan(leaf)
    num_rows = leaf.shape[0]
    row = jnp.broadcast_to(expand_like(jnp.arange(num_rows, dtype=jnp.int32), leaf), leaf.shape)
    before = lax.cummax(jnp.where(is_missing, -1, row), axis=0)
    after = lax.cummin(jnp.where(is_missing, num_rows, row), axis=0, reverse=True)
    return before, jnp.where(after < num_rows, after, -1), jnp.where(is_missing, 0, leaf)
