"""The loop over steps for many systems: lanes that pull trajectories from a queue.

Every lane holds one trajectory with its own time, step size and status, and all lanes attempt a step at once: the field
is called once a stage for all of them. Steps come in chunks. Between chunks requested values are read off, lanes whose
trajectory has ended hand it in and take the next from the queue. A chunk ends early when idle lanes have cost more than
handing in and taking does.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.backend import on_gpu
from node_jax.interpolate.dense import DensePath
from node_jax.kernels import one_kernel
from node_jax.status import Status
from node_jax.stepping.attempt import attempt, begin
from node_jax.stepping.batch import Batch, expected_costs, longest_first, next_in_queue, take_rows
from node_jax.stepping.batching import any_over_batch, repeat
from node_jax.stepping.lane_record import Lanes, Record, hand_in, record_ended, result_of
from node_jax.stepping.lane_tape import LaneTape, lane_tape_is_small
from node_jax.stepping.outputs import Rows, first_rows, write_rows
from node_jax.stepping.problem import LoopResult, Problem
from node_jax.stepping.progress import Progress
from node_jax.tree import tree_buffer, tree_bytes, tree_size, tree_where_rows, tree_write
from node_jax.types import State

_LONGEST_CHUNK = 16
_SHORTEST_CHUNK = 4
_CHUNK_ELEMENTS = 2**17
"""A chunk of dense output of all lanes holds about this many numbers."""
_IDLE_SHARE = 0.5
"""A chunk ends when lanes have idled for this many attempts of all lanes."""
_NARROWER = 8
"""When so small a part of the lanes is busy and the queue is empty, the rest runs in a loop of that many lanes."""
_LEAST_TO_NARROW = 32
"""Fewer lanes are not narrowed: a loop more costs compile time."""


class _Carry(NamedTuple):
    lanes: Lanes
    next_index: Int[Array, ""]
    """The first place of the queue that waits."""
    num_chunks: Int[Array, ""]
    num_rows: Int[Array, ""]
    """Attempts of all lanes together."""
    num_executed: Int[Array, ""]
    record: Record
    tape: LaneTape | None


def integrate_lanes(
    batch: Batch, num_lanes: int, max_rows: int, *, with_tape: bool = False, with_slopes: bool = False
) -> tuple[LoopResult, tuple[LaneTape, ...] | None, State | None]:
    """Step all trajectories from the start to the end of their times and read off the values in between.

    Arguments:
        batch: the problems.
        num_lanes: how many to step at once. When the queue is empty and few lanes are busy, those go on in a loop of an
            eighth of the width.
        max_rows: bound on the attempts of all lanes together while there is a queue.
        with_tape: whether to keep the record that a gradient needs.
        with_slopes: whether to read dy/dt off beside y.

    Returns:
        The result, whose leaves have a leading axis of trajectories; the tapes of both loops; dy/dt at the times.
    """
    max_steps = batch.frame.max_steps
    settings = {"with_tape": with_tape, "with_slopes": with_slopes}
    starts = batch.map(begin, batch.rows())
    order = _order(batch) if num_lanes < batch.size else None
    loop = _Loop(batch, starts, order, num_lanes, max_rows, **settings)
    if not loop.has_queue:
        return loop.result(loop.run(loop.first(), 0))
    width = num_lanes // _NARROWER if num_lanes >= _LEAST_TO_NARROW else 0
    wide = loop.run(loop.first(), width)
    if not width:
        return loop.result(wide)
    # Without a queue every lane makes at most `max_steps` attempts.
    tail = _Loop(batch, starts, order, width, max_steps, **settings)
    end = tail.run(tail.first_of(wide), 0)
    result, tapes, slopes = tail.result(end)
    if wide.tape is None or tapes is None:
        return result, None, slopes
    return result, (wide.tape, *tapes), slopes


def _order(batch: Batch) -> Int[Array, " batch"] | None:
    """Which trajectory is in each place of the queue; `None` for the order of the batch."""
    expected = expected_costs(batch)
    return None if expected is None else longest_first(expected)


class _Loop:
    """One loop over chunks.

    Arguments:
        batch: the problems.
        starts: what `begin` gives of each trajectory.
        order: which trajectory is in each place of the queue; `None` for the order of the batch.
        num_lanes: how many to step at once.
        max_rows: bound on attempts.
        with_tape, with_slopes: as in `integrate_lanes`.
    """

    def __init__(
        self,
        batch: Batch,
        starts: tuple[Progress, State, Int[Array, " batch"]],
        order: Int[Array, " batch"] | None,
        num_lanes: int,
        max_rows: int,
        *,
        with_tape: bool,
        with_slopes: bool,
    ) -> None:
        self.batch, self.order, self.num_lanes = batch, order, num_lanes
        self.with_tape, self.with_slopes = with_tape, with_slopes
        self.frame = frame = batch.frame
        self.has_queue = num_lanes < batch.size
        self.length = lane_chunk_length(frame, num_lanes, has_queue=self.has_queue)
        self.max_rows = max_rows
        # A lane that keeps its trajectory ends by itself after `max_steps` attempts.
        self.is_bounded = self.has_queue or max_rows < frame.max_steps
        # Chunks that end early leave a part empty: about a square root of the lanes of them for each turn of the queue.
        num_turns = -(-batch.size // num_lanes)
        self.max_chunks = -(-max_rows // self.length) + num_turns * (math.isqrt(num_lanes) + 1) * self.has_queue
        self.starts, self.slopes_at_start, self.num_at_start = starts
        state_bytes = num_lanes * tree_bytes(self._recorded(self.starts)) // batch.size
        # Where dense output is kept anyway, its nodes are the states.
        self.path_has_states = frame.needs_dense and frame.solver.is_plain
        self.keeps_all = with_tape and lane_tape_is_small(self.max_chunks * self.length * state_bytes)

    def run(self, carry: _Carry, width: int) -> _Carry:
        """Go on until the queue is empty and no more than `width` lanes are busy, or the tape is full."""

        def has_work(carry: _Carry) -> Bool[Array, ""]:
            if not self.is_bounded:
                return any_over_batch(jnp.any(carry.lanes.now.is_running))
            num_busy = jnp.sum(carry.lanes.now.is_running, dtype=jnp.int32)
            is_any = (num_busy > width) | (carry.next_index < self.batch.size)
            has_room = (carry.num_chunks < self.max_chunks) & (carry.num_rows < self.max_rows)
            return any_over_batch(is_any & has_room)

        end = lax.while_loop(has_work, self._chunk, carry)
        return self._stop_if_full(end, width) if self.is_bounded else end

    def _stop_if_full(self, end: _Carry, width: int) -> _Carry:
        """`end` with what still runs when the tape is full handed in as it is."""
        now = end.lanes.now
        is_full = (jnp.sum(now.is_running, dtype=jnp.int32) > width) | (end.next_index < self.batch.size)
        status = jnp.where(now.is_running & is_full, Status.tape_full, now.status).astype(jnp.int32)
        lanes = end.lanes._replace(now=now._replace(status=status))
        record = end.record
        if self.has_queue:
            record, lanes = record_ended(self.batch, record, lanes)
        return end._replace(lanes=lanes, record=record)

    def first(self) -> _Carry:
        """Who comes first in the lanes, the others in the queue."""
        lanes = self._lanes_of(self._queued(jnp.arange(self.num_lanes)) if self.has_queue else None)
        zero = jnp.zeros((), jnp.int32)
        record = jax.tree.map(
            lambda leaf: jnp.zeros((self.batch.size, *leaf.shape[1:]), leaf.dtype), hand_in(self.batch, lanes)
        )
        first = jnp.asarray(self.num_lanes, jnp.int32)
        return _Carry(lanes, first, zero, zero, zero, record, self._empty_tape(lanes.now))

    def first_of(self, wide: _Carry) -> _Carry:
        """The busy lanes of a wider loop."""
        busy = wide.lanes.now.is_running
        lanes = take_rows(wide.lanes, jnp.argsort(~busy, stable=True)[: self.num_lanes])
        zero = jnp.zeros((), jnp.int32)
        tape = self._empty_tape(lanes.now)
        return _Carry(lanes, wide.next_index, zero, zero, wide.num_executed, wide.record, tape)

    def _lanes_of(self, index: Int[Array, " lane"] | None) -> Lanes:
        """Lanes with these trajectories at their starts; `None` for all of them."""
        now, slope, num_at_start = self.starts, self.slopes_at_start, self.num_at_start
        problem_rows = self.batch.rows(index)
        if index is None:
            index = jnp.arange(self.batch.size)
        else:
            now, slope, num_at_start = take_rows((now, slope, num_at_start), index)
        rows = None
        if not self.frame.only_ends:
            rows = self.batch.map(first_rows, problem_rows, num_at_start, slope if self.with_slopes else None)
        return Lanes(now, index.astype(jnp.int32), problem_rows, rows)

    def _empty_tape(self, now: Progress) -> LaneTape | None:
        if not self.with_tape:
            return None
        return LaneTape.empty(
            self.max_chunks,
            self.length,
            self.batch.size,
            now.t,
            self._recorded(now),
            self.keeps_all,
            has_jumps=self.frame.jumps is not None,
        )

    def _chunk(self, carry: _Carry) -> _Carry:
        lanes, next_index = carry.lanes, carry.next_index
        if self.has_queue:
            lanes, next_index = self._refill(lanes, next_index)
        stepped, window = self._step(lanes, next_index < self.batch.size, self.max_rows - carry.num_rows)
        tape = carry.tape
        if tape is not None:
            states = self._recorded(lanes.now) if window.states is None else self._states_of(window)
            tape = tape.extend(
                lanes.trajectory, window.num_attempts, window.times, stepped.now.t, states, window.is_jump
            )
        if stepped.rows is not None:
            stepped = stepped._replace(rows=self._write(stepped, window))
        record = carry.record
        num_executed = carry.num_executed + window.num_attempts * self.num_lanes
        if self.has_queue:
            record, stepped = record_ended(self.batch, record, stepped)
        num_rows = carry.num_rows + window.num_attempts
        return _Carry(stepped, next_index, carry.num_chunks + 1, num_rows, num_executed, record, tape)

    def _states_of(self, window: "_Window") -> tuple[State, State | None]:
        """The states before every attempt of a window."""
        assert window.states is not None
        z, f = window.states
        if self.path_has_states:
            z = jax.tree.map(lambda leaf: leaf[:-1, :, 0], window.path)
        return z, f

    def _refill(self, lanes: Lanes, next_index: Int[Array, ""]) -> tuple[Lanes, Int[Array, ""]]:
        """Give each idle lane a trajectory of the queue."""
        # A trajectory that ends where it starts stays in its lane until it is handed in.
        is_idle = lanes.trajectory >= self.batch.size
        takes, place, next_index = next_in_queue(is_idle, next_index, self.batch.size)
        queued = self._queued(place)
        new = self._lanes_of(queued)
        index = jnp.where(takes, queued, jnp.where(is_idle, self.batch.size, lanes.trajectory))
        held = tree_where_rows(takes, new._replace(trajectory=index), lanes._replace(trajectory=index))
        return held, next_index

    def _queued(self, places: Int[Array, "..."]) -> Int[Array, "..."]:
        """Which trajectories are in these places of the queue."""
        return places if self.order is None else self.order[places]

    def _step(self, lanes: Lanes, has_more: Bool[Array, ""], room: Int[Array, ""]) -> tuple[Lanes, "_Window"]:
        """Attempt up to a chunk of steps in all lanes, at most `room`."""
        stops = self.batch.map(Problem.stops, lanes.problem_rows)
        limit = max(1, int(_IDLE_SHARE * self.num_lanes))
        length = jnp.minimum(self.length, room) if self.is_bounded else self.length

        def look(num_attempts: Array, now: Progress, num_idle: Array) -> tuple[Array, Array, Array]:
            """Both numbers, and whether another attempt follows."""
            is_worth_it = (num_idle < limit) | ~has_more if self.has_queue else True
            goes_on = jnp.any(now.is_running) & (num_attempts < length) & is_worth_it
            return num_attempts, num_idle, any_over_batch(goes_on)

        def step(state: tuple[_Window, Progress, Array, Array]) -> tuple[_Window, Progress, Array, Array]:
            window, now, num_idle, _ = state
            n = window.num_attempts
            states = window.states
            if states is not None:
                states = tree_write(states, n, self._kept(now))
            after, coefficients, jumped = self.batch.map(_attempt, lanes.problem_rows, stops, now)
            is_jump = window.is_jump if jumped is None else tree_write(window.is_jump, n, jumped)
            path = window.path
            if path is not None:
                y1 = jax.vmap(self.frame.solver.read)(after.z)
                path = tree_write(path, n + 1, jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), y1, *coefficients))
            times = tree_write(window.times, n + 1, after.t)

            @one_kernel(tree_bytes(now.z))
            def count() -> tuple[Array, Array, Array]:
                more = jnp.sum(~after.is_running, dtype=jnp.int32) if self.has_queue else 0
                return look(n + 1, after, num_idle + more)

            num_attempts, num_idle, goes_on = count()
            return _Window(num_attempts, times, states, path, is_jump), after, num_idle, goes_on

        first = self._open(lanes)
        start = (first, lanes.now, *look(first.num_attempts, lanes.now, jnp.zeros((), jnp.int32))[1:])
        window, now, *_ = repeat(lambda state: state[3], step, start, self.length)
        return lanes._replace(now=now), window

    def _open(self, lanes: Lanes) -> "_Window":
        """A window at the lanes' present place; nodes that are not reached lie beyond every time."""
        now, solver = lanes.now, self.frame.solver
        direction = self.batch.map(lambda problem: problem.direction, lanes.problem_rows)
        times = jnp.broadcast_to(direction * jnp.inf, (self.length + 1, self.num_lanes)).at[0].set(now.t)
        path = None
        if self.frame.needs_dense:
            y = jax.vmap(solver.read)(now.z)
            node = jax.tree.map(lambda leaf: jnp.stack([leaf] * (1 + solver.num_coefficients), 1), y)
            path = tree_write(tree_buffer(self.length + 1, node), jnp.int32(0), node)
        states = tree_buffer(self.length, self._kept(now)) if self.keeps_all else None
        is_jump = None if self.frame.jumps is None else jnp.zeros((self.length, self.num_lanes), bool)
        return _Window(jnp.zeros((), jnp.int32), times, states, path, is_jump)

    def _recorded(self, now: Progress) -> tuple[State, State | None]:
        """What the tape keeps of the state before an attempt."""
        return now.z, now.f if self.frame.records_slope else None

    def _kept(self, now: Progress) -> tuple[State | None, State | None]:
        """What a window keeps of it."""
        z, f = self._recorded(now)
        return None if self.path_has_states else z, f

    def _write(self, lanes: Lanes, window: "_Window") -> Rows:
        """The rows of all lanes that lie in the window."""

        def write(problem: Problem, times: Array, nodes: State, t_now: Array, rows: Rows) -> Rows:
            path = DensePath(times, nodes, problem.solver.num_coefficients)
            return write_rows(problem, path, t_now, rows, self.batch.num_rows_of(problem))

        arguments = (window.times, window.path, lanes.now.t, lanes.rows)
        return self.batch.map(write, lanes.problem_rows, *arguments, in_axes=(1, 1, 0, 0))

    def result(self, end: _Carry) -> tuple[LoopResult, tuple[LaneTape, ...] | None, State | None]:
        """What `integrate_lanes` returns."""
        record = end.record
        if not self.has_queue:
            record = hand_in(self.batch, end.lanes)
        else:
            # What still waits when the tape is full has no row but the first.
            waits = jnp.arange(self.batch.size) >= end.next_index
            if self.order is not None:
                waits = jnp.zeros_like(waits).at[self.order].set(waits)
            record = tree_where_rows(waits, hand_in(self.batch, self._lanes_of(None)), record)
            record = record._replace(status=jnp.where(waits, Status.tape_full, record.status).astype(jnp.int32))
        result, slopes = result_of(self.batch, record, end.num_executed, end.num_chunks)
        return result, None if end.tape is None else (end.tape,), slopes


class _Window(NamedTuple):
    """The attempts of one chunk; leaves have leading axes (node, lane)."""

    num_attempts: Int[Array, ""]
    times: Float[Array, "node lane"]
    states: tuple[State | None, State | None] | None
    """Internal state and slope before each attempt; no state where the path has it."""
    path: State | None
    """Leaves of shape (node, lane, 1 + coefficient, ...), as in `DensePath`."""
    is_jump: Bool[Array, "attempt lane"] | None
    """Which attempts were jumps of the state, if the problem has any."""


def _attempt(problem: Problem, stops: Array | None, now: Progress) -> tuple[Progress, Any, Array | None]:
    after, did = attempt(problem, stops, now)
    return after, did.coefficients, did.is_jump


def lane_chunk_length(frame: Problem, num_lanes: int, *, has_queue: bool) -> int:
    """Attempts between two visits to the queue, from 4 to 16: fewer for a large state with dense output.

    On a GPU, where a chunk never ends early, 16 with a queue and else 8, or what is left of the last is in vain.
    """
    if on_gpu():
        return min(_LONGEST_CHUNK if has_queue else _LONGEST_CHUNK // 2, frame.max_steps)
    if not frame.needs_dense:
        return min(_LONGEST_CHUNK, frame.max_steps)
    elements = num_lanes * (1 + frame.solver.num_coefficients) * max(1, tree_size(frame.y0))
    length = 1 << (max(1, _CHUNK_ELEMENTS // elements).bit_length() - 1)
    return min(max(length, _SHORTEST_CHUNK), _LONGEST_CHUNK, frame.max_steps)
