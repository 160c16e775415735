"""From what a loop gives to what a user asked for."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.solution import Steps
from node_jax.status import Status
from node_jax.stepping import LoopResult
from node_jax.tree import tree_freeze, tree_where_rows
from node_jax.types import Args, State


def apply_save(save: Callable[[Any, Any, Any], Any] | None, ts: jax.Array, ys: State, y0: State, args: Args) -> Any:
    """`save(t, y, args)` at every row that was reached, NaN in the others; the rows themselves without `save`."""
    if save is None:
        return ys
    filled = [leaf for leaf in jax.tree.leaves(ys) if leaf.size] or [ts]
    is_saved = jnp.stack([jnp.all(jnp.isfinite(leaf.reshape(leaf.shape[0], -1)), axis=1) for leaf in filled])
    is_saved = jnp.all(is_saved, axis=0)
    # `save` sees y0 in place of a state that is NaN, and 0 in place of such a time: the gradient of a masked row must
    # not be NaN.
    safe = tree_where_rows(is_saved, ys, y0)
    safe_ts = jnp.where(jnp.isfinite(ts), ts, 0)
    saved = jax.vmap(lambda t, y: _as_saved(save(t, y, args)))(safe_ts, safe)
    return tree_where_rows(is_saved, saved, math.nan)


def _as_saved(value: Any) -> Any:
    """What `save` returned, as arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(value)
    for path, leaf in leaves:
        dtype = jnp.result_type(leaf) if eqx.is_array_like(leaf) else None
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            came = type(leaf).__name__ if dtype is None else f"dtype {dtype}"
            raise TypeError(
                f"odeint: expected save to return floating-point arrays, got {came} at "
                f"save(...){jax.tree_util.keystr(path)}. Rows that were not reached are NaN, which no integer is."
            )
    if not leaves:
        raise TypeError(f"odeint: expected save to return at least one array, got {value!r}.")
    return value


def steps_of(result: LoopResult) -> Steps | None:
    """The record of accepted steps, if the loop kept one."""
    if result.times is None or result.errors is None:
        return None
    starts, ends = result.times[:-1], result.times[1:]
    # A jump has no length, and under `jax.vmap` a row in which only other lanes stepped.
    is_step = (jnp.arange(starts.shape[0]) < result.num_nodes) & (starts != ends)
    is_step = is_step & (result.status != Status.invalid_input)
    order = jnp.argsort(~is_step, stable=True)
    t, dt, error_ratio = (jnp.where(is_step, x, jnp.nan)[order] for x in (starts, ends - starts, result.errors))
    return tree_freeze(Steps(t, dt, error_ratio))
