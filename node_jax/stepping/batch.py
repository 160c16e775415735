"""Many initial value problems that share what is not mapped."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from node_jax.backend import on_cpu
from node_jax.stepping.outputs import num_distinct_rows
from node_jax.stepping.problem import Problem
from node_jax.tree import tree_size, tree_where_rows

_NO_QUEUE_ON_CPU = 128
"""So many trajectories are stepped without a queue."""
_LANES_ON_CPU = 64
"""Matrix products of so many rows are nearly as efficient as larger ones, and fewer lanes wait for each other."""
_WIDE_ON_CPU = 256
"""Lanes where none waits, and of very many trajectories: what is done once for all lanes weighs less."""
_VERY_MANY_ON_CPU = 8192
"""So many trajectories are very many."""
_LEAST_LANES = 8
"""Of a state however large."""
_ELEMENTS_ON_CPU = 2**20
"""Lanes of a large state hold about this many numbers together."""
_ELEMENTS_ON_ACCELERATOR = 2**19
"""With more it is hardly faster there, and more lanes wait for the slowest."""
_ELEMENTS_WITHOUT_WAITING = 2**22
"""On an accelerator, where none waits."""
_STEPS_A_ROW = 512
"""Attempts for which the tape of a queue has room, on average over all trajectories but the first."""
_TAPE_TIMES = 2**24
"""So many times a tape may hold for trajectories that all take `max_steps`."""


class Batch(eqx.Module):
    """Problems in one: some leaves have a leading axis of trajectories, the others are shared.

    What is written for one problem is mapped over trajectories, or over lanes that each hold one of them; the shared
    leaves stay without an axis, so that a gradient for them is summed where it arises.
    """

    problem: Problem
    """Leaves that are mapped have a leading axis of trajectories."""
    is_mapped: tuple[bool, ...] = eqx.field(static=True)
    """Which of the problem's leaves are mapped."""
    size: int = eqx.field(static=True)
    """How many trajectories there are."""

    def rows(self, index: Int[Array, " lane"] | None = None) -> list[Array]:
        """The mapped leaves: of all trajectories, or of those in `index`; an index too large counts as the last."""
        mapped = [
            leaf for leaf, is_mapped in zip(jax.tree.leaves(self.problem), self.is_mapped, strict=True) if is_mapped
        ]
        return mapped if index is None else [leaf.at[index].get(mode="clip") for leaf in mapped]

    def problem_of(self, rows: Sequence[Any]) -> Problem:
        """The problem with `rows` in place of its mapped leaves."""
        leaves, treedef = jax.tree.flatten(self.problem)
        remaining = iter(rows)
        return jax.tree.unflatten(
            treedef, [next(remaining) if m else leaf for leaf, m in zip(leaves, self.is_mapped, strict=True)]
        )

    def map(self, function: Callable[..., Any], rows: list[Array], *lanes: Any, in_axes: Any = 0) -> Any:
        """`function(problem, *lanes)` of each lane, whose problem has its part of `rows`."""
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(lanes)
        return jax.vmap(lambda rows, *lanes: function(self.problem_of(rows), *lanes), in_axes=(0, *axes))(rows, *lanes)

    @property
    def mapped(self) -> Any:
        """The problem with a flag in place of each leaf: whether it is mapped."""
        return jax.tree.unflatten(jax.tree.structure(self.problem), self.is_mapped)

    def num_rows_of(self, problem: Problem) -> Int[Array, ""] | None:
        """How many of its times one problem has without those that pad them; `None` where all have the same times."""
        return num_distinct_rows(problem) if self.mapped.ts else None

    @property
    def frame(self) -> Problem:
        """A problem with the shapes of a single one."""
        return self.problem_of([jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in self.rows()])


def choose_lanes(lanes: int | None, batch: Batch) -> int:
    """How many trajectories to step at once.

    Arguments:
        lanes: what the user asked for. `None` takes on a CPU all up to 128. Of more it takes 64; it takes 256 if they
            are at least 8192, or if none waits because steps are not adaptive and times shared; and of a large state
            fewer, so that together they hold about a million numbers, but at least 8. On an accelerator it takes all,
            or equal turns of at most half a million numbers, of four millions if none waits.
        batch: the trajectories.
    """
    size, y_size = batch.size, max(1, tree_size(batch.frame.y0))
    if lanes is not None:
        return min(lanes, size)
    none_waits = not batch.problem.controller.is_adaptive and not batch.mapped.ts
    if on_cpu():
        is_wide = none_waits or size >= _VERY_MANY_ON_CPU or size <= _NO_QUEUE_ON_CPU
        most = _WIDE_ON_CPU if is_wide else _LANES_ON_CPU
        return min(most, size, max(_LEAST_LANES, _ELEMENTS_ON_CPU // y_size))
    elements = _ELEMENTS_WITHOUT_WAITING if none_waits else _ELEMENTS_ON_ACCELERATOR
    num_turns = math.ceil(size / max(_LEAST_LANES, elements // y_size))
    return math.ceil(size / num_turns)


def choose_max_rows(max_rows: int | None, batch: Batch, lanes: int) -> int:
    """How many attempts of all lanes a solve may make.

    By default `max_steps`, and as many again for each further turn of the queue, but at most 512; or more, where steps
    are not adaptive and 16 million times suffice for it.
    """
    if max_rows is not None:
        return max_rows
    max_steps, num_turns = batch.frame.max_steps, math.ceil(batch.size / lanes)
    a_turn = _STEPS_A_ROW
    if not batch.problem.controller.is_adaptive:
        a_turn = max(a_turn, _TAPE_TIMES // batch.size)
    return max_steps + min(max_steps, a_turn) * (num_turns - 1)


def expected_costs(batch: Batch) -> Float[Array, " batch"] | None:
    """What trajectories are expected to cost, in any unit; `None` where nothing is known.

    That is the hints, or else the spans of the times where each has its own.
    """
    problem = batch.problem
    if problem.cost_hint is not None:
        return problem.cost_hint
    return abs(problem.ts[:, -1] - problem.ts[:, 0]) if batch.mapped.ts else None


def longest_first(expected: Float[Array, " batch"]) -> Int[Array, " batch"]:
    """Who goes first, second and so on, so that nothing long is left at the end; those alike in the order they have."""
    return jnp.argsort(-lax.stop_gradient(expected), stable=True).astype(jnp.int32)


def next_in_queue(
    is_idle: Bool[Array, " lane"], next_place: Int[Array, ""], num_queued: int | Int[Array, ""]
) -> tuple[Bool[Array, " lane"], Int[Array, " lane"], Int[Array, ""]]:
    """Which idle lanes take something from a queue, each lane's place in the queue, and the first that waits then.

    Arguments:
        is_idle: which lanes are free.
        next_place: the first place that waits.
        num_queued: how many places there are. A lane that takes nothing gets one that exists, if any does.
    """
    ahead = next_place + jnp.cumsum(is_idle, dtype=jnp.int32) - 1
    takes = is_idle & (ahead < num_queued)
    return takes, jnp.clip(ahead, 0, jnp.maximum(num_queued - 1, 0)), next_place + jnp.sum(takes, dtype=jnp.int32)


def put_rows(buffer: PyTree, index: Int[Array, " lane"], values: PyTree) -> PyTree:
    """`buffer` with the values of all lanes in their trajectories' rows; an index beyond the last row is dropped."""
    return jax.tree.map(lambda rows, new: rows.at[index].set(new, mode="drop"), buffer, values)


def add_rows(buffer: PyTree, index: Int[Array, " lane"], values: PyTree) -> PyTree:
    """`buffer` with the values of all lanes added to their trajectories' rows."""
    return jax.tree.map(lambda rows, new: rows.at[index].add(new.astype(rows.dtype), mode="drop"), buffer, values)


def take_rows(buffer: PyTree, index: Int[Array, " lane"]) -> PyTree:
    """The rows of the trajectories in `index`, that of the last for an index beyond it."""
    return jax.tree.map(lambda rows: rows.at[index].get(mode="clip"), buffer)


def lend(mask: Bool[Array, " lane"], x: Any, lender: Int[Array, ""] | None = None) -> Any:
    """`x`, with the values of some lane in `mask` in all lanes that are not; without one, what comes of it is void.

    What is thrown away of a lane is computed all the same: from its own values it might be NaN, which a cotangent of
    zero would carry into what lanes share.

    Arguments:
        mask: which lanes keep their values.
        x: leaves have a leading axis of lanes.
        lender: the first of them, where it is known.
    """
    lender = jnp.argmax(mask) if lender is None else lender
    return tree_where_rows(mask, x, jax.tree.map(lambda leaf: leaf[lender], x))
