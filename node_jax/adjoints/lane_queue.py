"""The way back over the record of a batch that had a queue, with a queue of its own.

By now it is known how many steps each trajectory took. So the lanes of the way back take trajectories longest first,
each from its last step to its first, wherever its steps were taken: hardly a lane is idle before the very end, attempts
that were rejected are left out, and what ran in a loop of fewer lanes goes along with the others.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.stepping import LaneTape
from node_jax.stepping.batch import longest_first, next_in_queue
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.lane_tape import steps_among
from node_jax.tree import tree_read, tree_where_rows
from node_jax.types import State

_IDLE_SHARE = 0.5
"""A window ends when lanes would idle for more than this many steps of all lanes: what the next window costs."""


class Window(NamedTuple):
    """Attempts that are transposed one after the other, from the last to the first."""

    trajectory: Int[Array, " lane"]
    """In each lane; one too large where there is none."""
    num_attempts: Int[Array, ""]
    """How many rows of the following are used."""
    times: Float[Array, "node lane"]
    """Before each attempt, and after the last; one that is not transposed has no length."""
    states: tuple[State, State | None]
    """Internal state and slope, if that is recorded, before each attempt: leading axes (attempt, lane)."""
    is_jump: Bool[Array, "attempt lane"] | None


class Cursor(NamedTuple):
    """Which steps have had their turn."""

    trajectory: Int[Array, " lane"]
    """In each lane; one too large where there is none."""
    num_left: Int[Array, " lane"]
    """Steps of it that have not."""
    next_place: Int[Array, ""]
    """The first place of the queue that waits."""


class StepQueue:
    """Hands out the steps of all trajectories.

    Arguments:
        tapes: the records, one after the other in time, with the states of all attempts.
        num_accepted: how many steps each trajectory took.
        most_rows: bound on the sum of these.
    """

    def __init__(self, tapes: Sequence[LaneTape], num_accepted: Int[Array, " batch"], most_rows: int) -> None:
        self.tapes = tapes
        self.size = num_accepted.shape[0]
        self.length, self.num_lanes = tapes[0].length, tapes[0].num_lanes
        self.first = jnp.cumsum(num_accepted, dtype=jnp.int32) - num_accepted
        self.rows = jnp.zeros((most_rows,), jnp.int32)
        end = self.first
        for tape, base in zip(tapes, self._bases(), strict=True):
            self.rows, end = self._enter(tape, base, self.rows, end)
        self.counts = end - self.first
        self.order = longest_first(self.counts)
        self.num_queued = jnp.sum(self.counts > 0, dtype=jnp.int32)

    def _bases(self) -> list[int]:
        """By how much the rows of each tape are numbered higher than in itself."""
        sizes = [tape.index.size * tape.length for tape in self.tapes]
        return [sum(sizes[:i]) for i in range(len(sizes))]

    def _enter(
        self, tape: LaneTape, base: int, rows: Int[Array, " row"], end: Int[Array, " batch"]
    ) -> tuple[Int[Array, " row"], Int[Array, " batch"]]:
        """`rows`, which has the rows of each trajectory's steps side by side, with those of a tape, and their ends."""
        here = jnp.arange(tape.length)[:, None] * tape.num_lanes + jnp.arange(tape.num_lanes)

        def enter(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            chunk, rows, end = state
            index, times, is_jump = tree_read((tape.index, tape.times, tape.is_jump), chunk)
            is_step = steps_among(times, is_jump)
            nth = jnp.cumsum(is_step, axis=0, dtype=jnp.int32)
            place = jnp.where(is_step, end.at[index].get(mode="clip") + nth - 1, rows.shape[0])
            numbers = (base + chunk * here.size + here).astype(jnp.int32)
            return chunk + 1, rows.at[place].set(numbers, mode="drop"), end.at[index].add(nth[-1], mode="drop")

        start = (jnp.zeros((), jnp.int32), rows, end)
        return lax.while_loop(lambda state: any_over_batch(state[0] < tape.num_chunks), enter, start)[1:]

    def start(self) -> Cursor:
        """Nobody in the lanes."""
        nobody = jnp.full((self.num_lanes,), self.size, jnp.int32)
        return Cursor(nobody, jnp.zeros_like(nobody), jnp.zeros((), jnp.int32))

    def has_more(self, cursor: Cursor) -> Bool[Array, ""]:
        """Whether steps are left."""
        return any_over_batch(jnp.any(cursor.num_left > 0) | (cursor.next_place < self.num_queued))

    def take(self, cursor: Cursor) -> tuple[Window, Cursor]:
        """The next window, of the steps that come last in each lane, and what is left then."""
        cursor = self._refill(cursor)
        num_attempts = self._num_attempts(cursor)
        nums = jnp.minimum(cursor.num_left, num_attempts)
        attempts = jnp.arange(self.length)[:, None]
        # A lane with fewer steps repeats the start of the first of them.
        nth = jnp.clip(attempts, num_attempts - nums, num_attempts - 1)
        first = self.first.at[cursor.trajectory].get(mode="clip") + cursor.num_left - num_attempts
        rows = self.rows.at[first + nth].get(mode="clip", wrap_negative_indices=False)
        starts, last_end, states, is_jump = self._read(rows)
        ends = jnp.where(nums > 0, last_end, starts[-1])
        times = jnp.concatenate([jnp.where(attempts < num_attempts, starts, ends), ends[None]])
        if is_jump is not None:
            is_jump = is_jump & (attempts >= num_attempts - nums) & (attempts < num_attempts)
        window = Window(cursor.trajectory, num_attempts, times, states, is_jump)
        return window, cursor._replace(num_left=cursor.num_left - nums)

    def _refill(self, cursor: Cursor) -> Cursor:
        """Give each idle lane the longest trajectory that waits."""
        is_idle = cursor.num_left == 0
        takes, place, next_place = next_in_queue(is_idle, cursor.next_place, self.num_queued)
        new = self.order[place]
        trajectory = jnp.where(takes, new, jnp.where(is_idle, self.size, cursor.trajectory))
        num_left = jnp.where(takes, self.counts[new], cursor.num_left)
        return Cursor(trajectory, num_left, next_place)

    def _num_attempts(self, cursor: Cursor) -> Int[Array, ""]:
        """How many steps the lanes go before the next look at the queue; under `jax.vmap` one number for all."""
        after = jnp.arange(1, self.length)
        num_idle = jnp.sum(jnp.maximum(after[:, None] - cursor.num_left, 0), axis=1)
        is_worth_it = (num_idle < _IDLE_SHARE * self.num_lanes) | (cursor.next_place >= self.num_queued)
        goes_on = is_worth_it & (after < jnp.max(cursor.num_left))
        return 1 + jnp.sum(any_over_batch(goes_on), dtype=jnp.int32)

    def _read(self, rows: Int[Array, "attempt lane"]) -> "_Rows":
        """Rows by their numbers, each from its own tape."""
        bases = self._bases()
        found = _rows_of(self.tapes[0], rows)
        for tape, base in zip(self.tapes[1:], bases[1:], strict=True):

            def add(found: _Rows, tape: LaneTape = tape, base: int = base) -> _Rows:
                there = _rows_of(tape, rows - base)
                is_there = rows >= base
                starts, states, is_jump = tree_where_rows(is_there, there.without_end, found.without_end)
                return _Rows(starts, tree_where_rows(is_there[-1], there.end, found.end), states, is_jump)

            found = lax.cond(any_over_batch(jnp.any(rows >= base)), add, lambda found: found, found)
        return found


class _Rows(NamedTuple):
    """Attempts on a tape."""

    starts: Float[Array, "attempt lane"]
    end: Float[Array, " lane"]
    """Of the last."""
    states: tuple[State, State | None]
    is_jump: Bool[Array, "attempt lane"] | None

    @property
    def without_end(self) -> tuple[Any, Any, Any]:
        """All that there is of every attempt."""
        return self.starts, self.states, self.is_jump


def _rows_of(tape: LaneTape, rows: Int[Array, "attempt lane"]) -> _Rows:
    """Those with these numbers, the first or the last where there is none."""
    # A chunk has one node more than attempts.
    nodes = rows + rows // (tape.length * tape.num_lanes) * tape.num_lanes
    starts, end = _take(tape.times, nodes), _take(tape.times, nodes[-1] + tape.num_lanes)
    return _Rows(starts, end, _take(tape.states, rows), _take(tape.is_jump, rows))


def _take(buffer: Any, rows: Int[Array, "..."]) -> Any:
    """Rows of a buffer whose axes of chunks, rows and lanes are counted through as one."""

    def take(leaf: Array) -> Array:
        return leaf.reshape(-1, *leaf.shape[3:]).at[rows].get(mode="clip", wrap_negative_indices=False)

    return jax.tree.map(take, buffer)
