"""Values at the requested times, read off the dense output, and the transpose of that.

A loop collects the dense output of a chunk of steps and then reads all requested times in it at once, so that many
times do not slow the steps. Rows are handled in windows; rows of a window beyond the chunk are written with values that
mean nothing and are overwritten when their own step comes, so that no `where` over a buffer is needed.
"""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.interpolate.dense import DensePath
from node_jax.kernels import one_kernel
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.problem import Problem
from node_jax.tree import (
    expand_like,
    tree_add,
    tree_buffer,
    tree_bytes,
    tree_read,
    tree_size,
    tree_slice,
    tree_take,
    tree_where_rows,
    tree_write,
    tree_write_slice,
)
from node_jax.types import State, Time

_CHUNK_ELEMENTS = 2**16
"""A chunk of dense output holds about this many numbers: it stays in a core's cache."""
_LONGEST_CHUNK = 16
"""Longer ones only cost: the loop over steps copies the chunk as it writes into it."""
_LONGEST_SPAN = 32
_TINY_BYTES = 512
"""XLA compiles a loop that carries less than a kilobyte into one function on a CPU, about seven times as fast a step as
a loop of separate kernels. A chunk of this size leaves room for the rest of the carry."""
_TINY_CHUNK = 8
"""Shorter chunks than this lose by their number what the loop gains."""
_WINDOW_ELEMENTS = 2**14
_LONGEST_PRODUCT = 128
"""Cotangents of up to so many rows are collected in one product, without a loop."""
_LEAST_SUMMED = 64
"""For states of fewer numbers this product costs less than a sum that is short to compile would add to its weights."""
_ROWS_OF_A_STEP = 4
"""Rows of one step whose cotangents are collected at once in such a loop."""


def _power_of_two_below(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def chunk_length(problem: Problem) -> int:
    """Steps whose dense output is held at once while solving: from 1 for a large state to 16 for a small one."""
    return min(span_length(problem), _LONGEST_CHUNK)


def span_length(problem: Problem) -> int:
    """Steps whose cotangents are held at once on the way back: from 1 for a large state to 32, 16 for a tiny one."""
    states_a_step = 1 + problem.solver.num_coefficients
    tiny = _power_of_two_below(_TINY_BYTES // max(1, states_a_step * tree_bytes(problem.y0)) - 1)
    if tiny >= _TINY_CHUNK:
        return min(tiny, 2 * _TINY_CHUNK)
    longest = _power_of_two_below(_CHUNK_ELEMENTS // max(1, states_a_step * tree_size(problem.y0)))
    return min(longest, _LONGEST_SPAN)


def window_length(problem: Problem) -> int:
    """Rows handled at once: as many as a span has steps, fewer if the state is large."""
    longest = max(1, _WINDOW_ELEMENTS // max(1, tree_size(problem.y0)))
    return max(1, min(longest, span_length(problem), problem.ts.shape[0] - 1))


def empty_path(problem: Problem, num_steps: int) -> DensePath:
    """Room for the dense output of `num_steps` steps from the start of the problem."""
    num_coefficients = problem.solver.num_coefficients
    node = jax.tree.map(lambda y: jnp.zeros((1 + num_coefficients, *y.shape), y.dtype), problem.y0)
    path = DensePath(jnp.zeros((num_steps + 1,), problem.ts.dtype), tree_buffer(num_steps + 1, node), num_coefficients)
    return restart_path(problem, path, problem.ts[0], problem.y0)


def restart_path(problem: Problem, path: DensePath, t: Time, y: State) -> DensePath:
    """`path` with (t, y) as its first node, and no step."""
    # The end of the solve lies beyond all that is read before another step is written. Infinity with a sign would be a
    # kernel of its own, and NaN what JAX's own search for NaN reports, where a tape takes it from here.
    unused = jnp.inf * problem.direction if problem.wants_path else problem.ts[-1]
    times = jnp.full_like(path.times, unused)

    def put(nodes: Array, y: Array) -> Array:
        return lax.dynamic_update_slice(nodes, y[None, None], (0,) * nodes.ndim, allow_negative_indices=False)

    return DensePath(tree_write(times, jnp.int32(0), t), jax.tree.map(put, path.nodes, y), path.num_coefficients)


def extend_path(path: DensePath, n: Int[Array, ""], t1: Time, y1: State, coefficients: tuple[State, ...]) -> DensePath:
    """`path` with step n that ends at (t1, y1)."""
    node = jax.tree.map(lambda *leaves: jnp.stack(leaves), y1, *coefficients)
    return DensePath(tree_write(path.times, n + 1, t1), tree_write(path.nodes, n + 1, node), path.num_coefficients)


class Rows(NamedTuple):
    """The output buffers, a window longer than the times."""

    ys: State
    slopes: State | None
    """dy/dt at the times, where the gradient for `ts` needs it."""
    num_written: Int[Array, ""]


def first_rows(problem: Problem, num_at_start: Int[Array, ""], slope: State | None = None) -> Rows:
    """y0 in every row, and `slope` if slopes are wanted; the first `num_at_start` rows are thereby done."""
    num_rows = problem.ts.shape[0] + window_length(problem)

    def spread(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (num_rows, *leaf.shape))

    return Rows(jax.tree.map(spread, problem.y0), jax.tree.map(spread, slope), num_at_start)


def write_rows(
    problem: Problem, path: DensePath, t_now: Time, rows: Rows, num_rows: Int[Array, ""] | None = None
) -> Rows:
    """Write the rows at all times up to `t_now` that are not yet written.

    Arguments:
        problem: the problem.
        path: the steps that the rows lie in.
        t_now: where it ends.
        rows: the buffers.
        num_rows: leave out all rows from this one on: the padding of one lane, which all others would wait for.
    """
    window = window_length(problem)
    direction = problem.direction
    num_times = problem.ts.shape[0]
    limit = jnp.int32(num_times) if num_rows is None else num_rows

    def has_more(rows: Rows) -> Array:
        is_reached = (tree_read(problem.ts, rows.num_written) - t_now) * direction <= 0
        return any_over_batch((rows.num_written < limit) & is_reached)

    def write(rows: Rows) -> Rows:
        @one_kernel(tree_bytes(problem.y0))
        def find() -> tuple[Int[Array, ""], Array, Array, Any]:
            here_rows = rows.num_written + jnp.arange(window)
            here = tree_take(problem.ts, jnp.minimum(here_rows, num_times - 1))
            is_reached = (here_rows < limit) & ((here - t_now) * direction <= 0)
            here = tree_where_rows(is_reached, here, t_now)
            slope_weights = None if rows.slopes is None else path.slope_weights(here, direction)
            num_written = rows.num_written + jnp.sum(is_reached, dtype=jnp.int32)
            return num_written, *path.locate(here, direction), slope_weights

        num_written, step, theta, slope_weights = find()
        ys = tree_write_slice(rows.ys, rows.num_written, path.read(step, path.weights(theta)))
        slopes = rows.slopes
        if slope_weights is not None:
            slopes = tree_write_slice(slopes, rows.num_written, path.read(*slope_weights))
        return Rows(ys, slopes, num_written)

    return lax.while_loop(has_more, write, rows)


def num_distinct_rows(problem: Problem) -> Int[Array, ""]:
    """How many rows there are before `ts` only repeats its last time: the padding of a row with fewer times."""
    return problem.ts.shape[0] + 1 - jnp.sum(problem.ts == problem.ts[-1], dtype=jnp.int32)


def repeat_last_row(problem: Problem, rows: State, num_saved: Int[Array, ""]) -> tuple[State, Int[Array, ""]]:
    """Give the repeats of the last time the row of its first occurrence, and count them as saved if that is."""
    num_rows, num_times = num_distinct_rows(problem), problem.ts.shape[0]
    is_repeat = jnp.arange(num_times) >= num_rows
    last = jax.tree.map(lambda leaf: leaf[num_rows - 1], rows)
    return tree_where_rows(~is_repeat, rows, last), jnp.where(num_saved >= num_rows, num_times, num_saved)


def add_to_last_row(problem: Problem, rows: State) -> State:
    """The transpose of `repeat_last_row`."""
    num_rows = num_distinct_rows(problem)
    is_repeat = jnp.arange(problem.ts.shape[0]) >= num_rows
    repeats, others = tree_where_rows(is_repeat, rows, 0), tree_where_rows(~is_repeat, rows, 0)
    return jax.tree.map(lambda leaf, added: leaf.at[num_rows - 1].add(jnp.sum(added, axis=0)), others, repeats)


def collect_cotangents(problem: Problem, times: Float[Array, " node"], rows: State) -> State:
    """The transpose of `DensePath.evaluate` over consecutive steps.

    Arguments:
        problem: the problem.
        times: ends of the steps; a step of no length takes no row, nor does one without an end.
        rows: cotangents of the output rows, zero beyond the last row that was reached.

    Returns:
        The cotangents of the parts of each step's dense output: leaves of shape (step, part, ...), where the parts are
        y0, y1 and the coefficients.
    """
    if problem.ts.shape[0] > _LONGEST_PRODUCT:
        return collect_cotangents_by_step(problem, times, rows)

    @one_kernel(tree_bytes(problem.y0))
    def invert() -> Array:
        return _measure(problem, times)[1]

    inverse_lengths = invert()
    # With the sign last there is nothing that XLA would compute before the loop around this, by another kernel.
    after, beyond = ((problem.ts - nodes[:, None]) * problem.direction for nodes in (times[:-1], times[1:]))
    is_mine = (after > 0) & (beyond <= 0)
    parts = _weights_of_parts(problem, is_mine, after * inverse_lengths[:, None])
    weights = jnp.stack(parts, axis=1) if tree_size(problem.y0) < _LEAST_SUMMED else _stacked_by_sum(parts)

    def multiply(leaf: Array) -> Array:
        return jnp.einsum("scr,r...->sc...", weights.astype(leaf.dtype), leaf, precision=lax.Precision.HIGHEST)

    return jax.tree.map(multiply, rows)


def collect_cotangents_by_step(
    problem: Problem, times: Float[Array, " node"], rows: State, num_rows: Int[Array, ""] | None = None
) -> State:
    """`collect_cotangents` for a lane, or for many rows: a few rows of every step at a time.

    Arguments:
        problem, times, rows: as there.
        num_rows: leave out all rows from this one on.

    Returns:
        As there: leaves of shape (step, part, ...).
    """
    num_times, num_parts = problem.ts.shape[0], 2 + problem.solver.num_coefficients

    @one_kernel(tree_bytes(problem.y0))
    def find() -> tuple[Array, Array, Array, Array, Array]:
        starts, inverse_lengths, is_step = _measure(problem, times)
        ts = problem.ts * problem.direction
        num_until = jnp.sum(ts <= (times * problem.direction)[:, None], axis=1, dtype=jnp.int32)
        if num_rows is not None:
            num_until = jnp.minimum(num_until, num_rows)
        return ts, starts, inverse_lengths, num_until[:-1], jnp.where(is_step, num_until[1:], 0)

    ts, starts, inverse_lengths, first, end = find()

    def has_more(carry: tuple[Array, State]) -> Array:
        return any_over_batch(jnp.any(carry[0] < end))

    def add(carry: tuple[Array, State]) -> tuple[Array, State]:
        first, totals = carry
        numbers = first[:, None] + jnp.arange(_ROWS_OF_A_STEP, dtype=jnp.int32)
        is_mine = numbers < end[:, None]
        here, values = tree_take((ts, rows), jnp.minimum(numbers, num_times - 1))
        theta = (here - starts[:, None]) * inverse_lengths[:, None]
        weights = jnp.stack(_weights_of_parts(problem, is_mine, theta), axis=1)

        def weigh(leaf: Array) -> Array:
            each = [weights[..., i].astype(leaf.dtype) for i in range(_ROWS_OF_A_STEP)]
            return reduce(jnp.add, [expand_like(w, leaf[:, :1]) * leaf[:, i, None] for i, w in enumerate(each)])

        return first + _ROWS_OF_A_STEP, tree_add(totals, jax.tree.map(weigh, values))

    zeros = jax.tree.map(lambda leaf: jnp.zeros((times.shape[0] - 1, num_parts, *leaf.shape[1:]), leaf.dtype), rows)
    return lax.while_loop(has_more, add, (first, zeros))[1]


def _measure(problem: Problem, times: Float[Array, " node"]) -> tuple[Array, Array, Array]:
    """Starts of the steps, times the direction; one over their lengths, and whether they have one. Each is of shape
    (step,).
    """
    starts, ends = times[:-1] * problem.direction, times[1:] * problem.direction
    lengths = lax.stop_gradient(ends - starts)
    is_step = (lengths > 0) & jnp.isfinite(lengths)
    return starts, 1 / tree_where_rows(is_step, lengths, 1), is_step


def _weights_of_parts(problem: Problem, is_mine: Bool[Array, "..."], theta: Float[Array, "..."]) -> list[Array]:
    """The weights of y0, y1 and the coefficients in the rows at these places θ of a step, each in the shape of `theta`;
    zero in rows of others, whose place may be infinite. See `DensePath`.
    """
    theta = lax.select(is_mine, theta, jnp.zeros_like(theta))
    path = DensePath(problem.ts, None, problem.solver.num_coefficients)
    _, rise, *others = path.weights(theta)
    return [is_mine - rise, rise, *others]


def _stacked_by_sum(parts: list[Array]) -> Array:
    """`jnp.stack(parts, axis=1)` of matrices that are finite, as a sum with zeros elsewhere. XLA computes what it
    stacks in a loop for each part, which together take it five times as long to compile.
    """
    places = np.eye(len(parts))[:, None, :, None]
    return reduce(lax.add, [part[:, None] * mine.astype(part.dtype) for part, mine in zip(parts, places, strict=True)])


def path_cotangents(cotangent: DensePath, first: Int[Array, ""], num_steps: int) -> State:
    """The part of a path's cotangent that belongs to `num_steps` steps from `first` on; see `collect_cotangents`.

    A node is the end of one step and the start of the next: it counts once, as an end. The first of all is left out.
    """

    def cut(leaf: Array) -> Array:
        ends = tree_slice(leaf, first + 1, num_steps)
        return jnp.pad(ends, [(0, 0), (1, 0), *[(0, 0)] * (ends.ndim - 2)])

    return jax.tree.map(cut, cotangent.nodes)
