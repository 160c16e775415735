"""Solves with events: first the events are found, then the solve is made with their times as known ones.

The second solve is the one that is differentiated. Its times end at a terminal event, and the events are among them; a
jump is one at a known time. How an event's time depends on everything is what Newton's method says of its condition: a
shift whose value is zero and whose derivatives are those of the implicit function.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.events import Conditions, Event, Jump, Jumps
from node_jax.events.jumps import follow, time_shift
from node_jax.integrate.arrays import close
from node_jax.integrate.validate import as_after_jump, as_condition
from node_jax.solution import Stats
from node_jax.status import Status, is_success
from node_jax.stepping import Problem
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.watch import Events, Watch
from node_jax.tree import tree_where_rows
from node_jax.types import Args, State, Time

Happening = Event | Jump


class Functions(NamedTuple):
    """The functions of events and jumps with their arguments, as pytrees of (t, y)."""

    conditions: tuple[Callable[[Time, State], Array] | None, ...]
    """`None` for a jump at known times."""
    jumps: tuple[Callable[[Time, State], State] | None, ...]

    def condition(self, i: int) -> Callable[[Time, State], Array]:
        """That of an `Event`."""
        condition = self.conditions[i]
        assert condition is not None
        return condition

    def jump(self, i: int) -> Callable[[Time, State], State]:
        """That of a `Jump`, or of an `Event` that has one."""
        jump = self.jumps[i]
        assert jump is not None
        return jump


def as_events(events: Any, dtype: Any, batch_size: int | None = None) -> tuple[Happening, ...]:
    """`events` as a checked tuple, for one solve or for a batch, with numbers as arrays.

    Arguments:
        events: what the user passed.
        dtype: that of the times.
        batch_size: how many trajectories there are, of a batch.
    """
    found = list(events) if isinstance(events, (tuple, list)) else [events]
    for i, event in enumerate(found):
        if not isinstance(event, (Event, Jump)):
            came = f"the class {event.__name__}" if isinstance(event, type) else type(event).__name__
            raise TypeError(f"odeint: expected events to hold nj.Event(...) and nj.Jump(...), got {came}.")
        shape = ()
        if isinstance(event, Jump):
            event = found[i] = event.with_arrays(dtype)
            shape = np.shape(event.times)
        event.validate()
        if len(shape) == 2 and shape[0] != batch_size:
            expected = "(jump,)" if batch_size is None else f"(jump,) or ({batch_size}, jump), a row a trajectory"
            raise ValueError(f"odeint: expected a Jump's times of shape {expected}, got {shape}.")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tuple(found))


class Bound(eqx.Module):
    """A function of (t, y, args) with its arguments, which may have an axis of trajectories where it has none."""

    function: Any
    args: Args

    def __call__(self, t: Time, y: State) -> Any:
        """Its value at (t, y)."""
        return self.function(t, y, self.args)


def close_events(events: Sequence[Happening], t0: Time, y0: State, args: Args) -> Functions:
    """The functions of events, as pytrees of (t, y, args) whose leaves are all the arrays that they close over."""

    def condition(event: Happening) -> Any:
        if isinstance(event, Jump):
            return None
        return close(lambda t, y, args: as_condition(event.condition(t, y, args)), t0, y0, args)

    def jump(function: Callable[[Any, State, Args], State] | None) -> Any:
        if function is None:
            return None
        return close(lambda t, y, args: as_after_jump(function(t, y, args), y), t0, y0, args)

    return Functions(tuple(condition(event) for event in events), tuple(jump(event.jump) for event in events))


def bind(functions: Functions, args: Args) -> Functions:
    """`functions` with their arguments."""
    return Functions(*(tuple(f if f is None else Bound(f, args) for f in group) for group in functions))


def known_jumps(events: Sequence[Happening], functions: Functions, times: Sequence[Any]) -> Jumps | None:
    """The jumps at known times; `None` without any."""
    places = [i for i, event in enumerate(events) if isinstance(event, Jump)]
    if not places:
        return None
    return Jumps(tuple(functions.jump(i) for i in places), (None,) * len(places), tuple(times))


def watch_of(events: Sequence[Happening], functions: Functions) -> Watch | None:
    """The events that must be looked for; `None` without any."""
    places = [i for i, event in enumerate(events) if isinstance(event, Event)]
    if not places:
        return None
    watched = [event for event in events if isinstance(event, Event)]
    return Watch(
        Conditions(tuple(functions.condition(i) for i in places), tuple(event.direction for event in watched)),
        tuple(functions.jumps[i] for i in places),
        tuple(event.terminate for event in watched),
        tuple(int(event.max_events) for event in watched),
    )


def search_problem(problem: Problem, watch: Watch) -> Problem:
    """The problem of finding the events of `problem`."""
    return dataclasses.replace(problem, watch=watch, reads_rows=False, wants_path=False, wants_errors=False, costs=())


class Known(NamedTuple):
    """A solve whose events are known: what its problem differs in."""

    ts: Float[Array, " time"]
    """The requested times up to a terminal event, and the times of all events."""
    jump_times: tuple[Float[Array, " event"], ...]
    """When each jump of an event acts."""


def known_times(problem: Problem, found: Events, status: Int[Array, ""]) -> Known:
    """The times of a solve that ends at a terminal event.

    Arguments:
        problem: the problem in which the events were found.
        found: the events.
        status: how the search for them ended.
    """
    watch, direction = problem.watch, problem.direction
    assert watch is not None
    ts = lax.stop_gradient(found.ts)
    last = jnp.max(jnp.where(jnp.isnan(ts), -jnp.inf, ts * direction))
    end = jnp.where(status == Status.event, last, problem.ts[-1] * direction) * direction
    asked = jnp.where(problem.ts * direction > end * direction, end, problem.ts)
    extra = jnp.where(jnp.isnan(ts), end, ts)
    times = jnp.sort(jnp.concatenate([asked, extra]) * direction) * direction
    acting = [i for i, jump in enumerate(watch.jumps) if jump is not None]
    return Known(times, tuple(jnp.where(found.which == i, ts, jnp.inf * direction) for i in acting))


def with_known_jumps(jumps: Jumps | None, watch: Watch, jump_times: Sequence[Any]) -> Jumps | None:
    """`jumps` and those of events, at their times; an event at the very time of a known jump comes before it."""
    acting = [
        (jump, condition)
        for jump, condition in zip(watch.jumps, watch.conditions.functions, strict=True)
        if jump is not None
    ]
    if not acting:
        return jumps
    parts = jumps or Jumps((), (), ())
    return Jumps(
        (*(jump for jump, _ in acting), *parts.functions),
        (*(condition for _, condition in acting), *parts.conditions),
        (*jump_times, *parts.times),
    )


class Places(NamedTuple):
    """Where the events of a solve are. Entries without an event repeat the first, or the start where there is none."""

    ts: Float[Array, " event"]
    ys: State
    which: Int[Array, " event"]


class Readings(NamedTuple):
    """What is read off a solve whose events are known."""

    ys: State
    status: Int[Array, ""]
    ts: Float[Array, " time"]
    """The requested times, up to a terminal event."""
    event_ts: Float[Array, " event"]
    event_ys: State
    event_index: Int[Array, " event"]
    num_events: Int[Array, ""]


def places_of(problem: Problem, known_ts: Float[Array, " known"], events: Events, rows: State) -> Places:
    """The events among the rows of a solve.

    Arguments:
        problem: the problem in which the events were found.
        known_ts: the times of the solve in which they are known.
        events: the events.
        rows: the values at `known_ts`.
    """
    is_event = jnp.arange(events.ts.shape[0]) < events.num
    first = jnp.where(events.num > 0, events.ts[0], problem.ts[0])
    ts = lax.stop_gradient(jnp.where(is_event, events.ts, first))
    which = jnp.where(is_event, events.which, jnp.maximum(events.which[0], 0))
    return Places(ts, _rows_at(problem, known_ts, rows, ts), which)


def settle(problem: Problem, places: Places) -> tuple[Float[Array, " event"], State]:
    """Times and states of events, with their derivatives: of the time that of the implicit function."""
    watch = problem.watch
    assert watch is not None

    def shift_by(condition: Callable[[Time, State], Array]) -> Callable[[Time, State], Time]:
        return lambda t, y: time_shift(condition, problem.field, t, y)

    def move(t: Time, y: State, which: Int[Array, ""]) -> tuple[Time, State]:
        shift = lax.switch(which, [shift_by(condition) for condition in watch.conditions.functions], t, y)
        return t + shift, follow(problem.field, t, y, shift)

    return jax.vmap(move)(*places)


def settle_if_any(
    num_events: Int[Array, "..."], settle: Callable[[Places], tuple[Array, State]], places: Places
) -> tuple[Array, State]:
    """`settle(places)` where anything has fired: a solve without an event may have no finite derivative there."""
    return lax.cond(any_over_batch(jnp.any(num_events > 0)), settle, lambda places: (places.ts, places.ys), places)


def read_events(
    problem: Problem,
    known_ts: Float[Array, " known"],
    found: tuple[Events, Int[Array, ""], Int[Array, ""]],
    result: tuple[State, Int[Array, ""]],
    settled: tuple[Float[Array, " event"], State],
) -> Readings:
    """The values at the requested times and at the events.

    Arguments:
        problem: the problem in which the events were found.
        known_ts: the times of the solve in which they are known.
        found: the events, how the search ended, and how many of the requested times it reached.
        result: the values at `known_ts`, and how that solve ended.
        settled: times and states of the events; see `settle`.
    """
    direction = problem.direction
    events, search_status, num_reached = found
    rows, solve_status = result
    event_ts, event_ys = settled
    last = jnp.maximum(events.num - 1, 0)
    has_ended = search_status == Status.event
    # Beyond a terminal event values stay what they are there.
    is_beyond = has_ended & (problem.ts * direction > known_ts[-1] * direction)
    ts = jnp.where(is_beyond, event_ts[last], problem.ts)
    ys = _rows_at(problem, known_ts, rows, jnp.where(is_beyond, known_ts[-1], problem.ts))
    ys = tree_where_rows(~is_beyond, ys, jax.tree.map(lambda at: at[last], event_ys))
    failed = ~is_success(search_status)
    is_lost = failed & (jnp.arange(problem.ts.shape[0]) >= num_reached)
    ys = tree_where_rows(~is_lost, ys, math.nan)
    status = jnp.where(failed, search_status, solve_status)
    status = jnp.where(has_ended & (solve_status == Status.success), Status.event, status).astype(jnp.int32)
    is_event = jnp.arange(event_ts.shape[0]) < events.num
    event_ys = tree_where_rows(is_event, event_ys, math.nan)
    which = jnp.where(is_event, events.which, -1).astype(jnp.int32)
    return Readings(ys, status, ts, jnp.where(is_event, event_ts, jnp.nan), event_ys, which, events.num)


def _rows_at(problem: Problem, known_ts: Float[Array, " known"], rows: State, ts: Float[Array, " time"]) -> State:
    """The rows of a solve at some of its times; equal times have equal rows."""
    grid, ts = lax.stop_gradient((known_ts * problem.direction, ts * problem.direction))
    place = jnp.sum(grid[None, :] < ts[:, None], axis=1, dtype=jnp.int32)
    return jax.tree.map(lambda leaf: leaf[jnp.minimum(place, grid.shape[0] - 1)], rows)


def add_evals(stats: Stats, search: Stats) -> Stats:
    """`stats` with the evaluations of the search for events."""
    return eqx.tree_at(lambda s: s.num_evals, stats, stats.num_evals + search.num_evals)
