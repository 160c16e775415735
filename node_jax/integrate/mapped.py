"""Which parts of a batched call have an axis of trajectories, checked and moved to the front."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from node_jax.integrate.validate import as_floating, as_real, as_state, as_times
from node_jax.types import Args, State

_EXAMPLE = "in_axes=(0, None, 0) maps y0s and args over their first axis and shares ts"


class Mapped(NamedTuple):
    """The inputs of a batched call with mapped axes in front, and which leaves are mapped."""

    y0: State
    ts: jax.Array
    args: Args
    is_y0_mapped: Any
    is_ts_mapped: bool
    is_args_mapped: Any
    size: int


def as_mapped(y0s: Any, ts: Any, args: Args, in_axes: Any) -> Mapped:
    """Check and convert `y0s`, `ts` and `args`, of which `in_axes` names the axes of trajectories.

    Raises:
        ValueError, TypeError: with what was expected, what came and the cure.
    """
    if not isinstance(in_axes, (tuple, list)) or len(in_axes) != 3:
        raise ValueError(
            f"odeint_batch: expected in_axes to be a tuple of three, for y0s, ts and args, got {in_axes!r}. {_EXAMPLE}."
        )
    numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, (float, np.ndarray)) else leaf, args)
    state = as_state(y0s)
    sizes: dict[str, int] = {}
    state, y0_axes = _move("y0s", state, in_axes[0], sizes)
    numbers, args_axes = _move("args", numbers, in_axes[2], sizes)
    times, ts_axes = _move("ts", _as_array(ts), in_axes[1], sizes)
    if not ts_axes and np.ndim(times) == 2:
        raise ValueError(
            f"odeint_batch: expected ts of shape (time,), which all trajectories share, got {np.shape(times)}. Write "
            "in_axes=(0, 0, None) for a row of times each."
        )
    times = _as_batch_times(times) if ts_axes else as_times(times)
    if not sizes:
        raise ValueError(f"odeint_batch: expected in_axes to map something, got {in_axes!r}. {_EXAMPLE}.")
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{size} at {where}" for where, size in sizes.items())
        raise ValueError(
            f"odeint_batch: expected mapped axes of one length, got {shown}. Give each trajectory a row everywhere, or "
            "share what is the same for all by None in in_axes."
        )
    size = next(iter(sizes.values()))
    if size == 0:
        raise ValueError("odeint_batch: expected at least one trajectory, got mapped axes of length 0.")
    return Mapped(state, times, numbers, y0_axes, ts_axes, args_axes, size)


def as_hint(cost_hint: Any, size: int) -> jax.Array | None:
    """Check and convert `cost_hint`: one number for each of `size` trajectories, or `None`."""
    if cost_hint is None:
        return None
    shape = np.shape(cost_hint)
    if shape != (size,):
        raise ValueError(
            f"odeint_batch: expected cost_hint to be one number for each trajectory, shape {(size,)}, got {shape}. "
            "sol.stats.num_evals of the last solve is a good one."
        )
    return jnp.asarray(cost_hint).astype(jnp.result_type(float))


def _move(name: str, tree: Any, axes: Any, sizes: dict[str, int]) -> tuple[Any, Any]:
    """`tree` with its mapped axes in front, and a tree of booleans; `sizes` gets their lengths."""
    try:
        spread = jax.tree.map(
            lambda axis, part: jax.tree.map(lambda _: _Axis(axis), part), axes, tree, is_leaf=lambda x: x is None
        )
    except ValueError as error:
        raise ValueError(
            f"odeint_batch: expected in_axes for {name} to be an integer, None, or a tree of them that fits {name}, "
            f"got {axes!r} for {jax.tree.structure(tree)}."
        ) from error

    def move(path: Any, leaf: Any, axis: _Axis) -> Any:
        where = f"{name}{jax.tree_util.keystr(path)}"
        if axis.number is None:
            return leaf
        if isinstance(axis.number, bool) or not isinstance(axis.number, (int, np.integer)):
            raise ValueError(f"odeint_batch: expected in_axes of integers and None, got {axis.number!r} for {where}.")
        number = int(axis.number)
        shape = np.shape(leaf) if eqx.is_array_like(leaf) else ()
        if not -len(shape) <= number < len(shape):
            raise ValueError(
                f"odeint_batch: expected {where} to have an axis {number} of trajectories, got shape {shape}. A list "
                f"of numbers is a tree of numbers: write jnp.array(...). Use None for what all share: {_EXAMPLE}."
            )
        sizes[where] = shape[number]
        return jnp.moveaxis(leaf, number, 0) if number else leaf

    moved = jax.tree_util.tree_map_with_path(move, tree, spread)
    return moved, jax.tree.map(lambda axis: axis.number is not None, spread)


@dataclass(frozen=True)
class _Axis:
    """An axis of `in_axes`, in a tree where `None` would not be a leaf."""

    number: Any


def _as_array(ts: Any) -> Any:
    try:
        numbers = as_real(ts)
        return ts if isinstance(ts, jax.Array) else numbers
    except ValueError as error:
        raise ValueError(
            "odeint_batch: expected rows of ts of one length. Pad rows that have fewer times by repeating their last."
        ) from error


def _as_batch_times(ts: Any) -> jax.Array:
    """`ts` of shape (batch, time), every row checked where its values are known."""
    if np.ndim(ts) != 2:
        raise ValueError(
            f"odeint_batch: expected ts of shape (batch, time) where in_axes maps it, got {np.shape(ts)}. Pad rows "
            "that have fewer times by repeating their last one."
        )
    if isinstance(ts, Tracer):
        return as_floating(ts)
    for row, times in enumerate(np.asarray(ts)):
        try:
            as_times(times)
        except ValueError as error:
            raise ValueError(f"odeint_batch: row {row} of ts: {error}") from error
    return as_floating(jnp.asarray(ts))
