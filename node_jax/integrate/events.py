"""Solves with events: first the events are found, then the solve is made with their times as known ones.

The second solve is the one that is differentiated. Its times end at a terminal event, and the events are among them; a
jump is one at a known time. How an event's time depends on everything is one step of Newton's method for its condition,
whose value is zero and whose derivative is that of the implicit function.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.events import Conditions, Event, Jump, Jumps
from node_jax.events.jumps import time_shift
from node_jax.status import Status, is_success
from node_jax.stepping import LoopResult, Problem
from node_jax.stepping.watch import Events, Watch
from node_jax.tree import expand_like, tree_axpy
from node_jax.types import State, Time

Happening = Event | Jump


class Functions(NamedTuple):
    """The functions of events and jumps with their arguments, as pytrees of (t, y)."""

    conditions: tuple[Callable[[Time, State], Array] | None, ...]
    """`None` for a jump at known times."""
    jumps: tuple[Callable[[Time, State], State] | None, ...]


class Happenings(NamedTuple):
    """What events made of one solve."""

    result: LoopResult
    ts: Float[Array, " time"]
    """The requested times, up to a terminal event."""
    event_ts: Float[Array, " event"]
    event_ys: State
    event_index: Int[Array, " event"]
    num_events: Int[Array, ""]


def as_events(events: Any) -> tuple[Happening, ...]:
    """`events` as a checked tuple."""
    found = tuple(events) if isinstance(events, (tuple, list)) else (events,)
    for event in found:
        if not isinstance(event, (Event, Jump)):
            raise TypeError(
                f"odeint: expected events to hold nj.Event(...) and nj.Jump(...), got {type(event).__name__}."
            )
        event.validate()
    return found


def known_jumps(events: Sequence[Happening], functions: Functions, times: Sequence[Array]) -> Jumps | None:
    """The jumps at known times; `None` without any."""
    places = [i for i, event in enumerate(events) if isinstance(event, Jump)]
    if not places:
        return None
    return Jumps(tuple(functions.jumps[i] for i in places), (None,) * len(places), tuple(times))


def watch_of(events: Sequence[Happening], functions: Functions) -> Watch | None:
    """The events that must be looked for; `None` without any."""
    places = [i for i, event in enumerate(events) if isinstance(event, Event)]
    if not places:
        return None
    watched = [event for event in events if isinstance(event, Event)]
    return Watch(
        Conditions(tuple(functions.conditions[i] for i in places), tuple(event.direction for event in watched)),
        tuple(functions.jumps[i] for i in places),
        tuple(event.terminate for event in watched),
        tuple(int(event.max_events) for event in watched),
    )


def search_problem(problem: Problem, watch: Watch) -> Problem:
    """The problem of finding the events of `problem`."""
    return dataclasses.replace(problem, watch=watch, reads_rows=False, wants_path=False, wants_errors=False, costs=())


def known_problem(problem: Problem, watch: Watch, found: Events, status: Int[Array, ""]) -> Problem:
    """`problem` with its events as known ones: it ends at a terminal event, and holds their times among its own."""
    direction = problem.direction
    ts = lax.stop_gradient(found.ts)
    last = jnp.max(jnp.where(jnp.isnan(ts), -jnp.inf, ts * direction))
    end = jnp.where(status == Status.event, last, problem.ts[-1] * direction) * direction
    asked = jnp.where(problem.ts * direction > end * direction, end, problem.ts)
    extra = jnp.where(jnp.isnan(ts), end, ts)
    times = jnp.sort(jnp.concatenate([asked, extra]) * direction) * direction
    jumps = problem.jumps
    acting = [i for i, jump in enumerate(watch.jumps) if jump is not None]
    if acting:
        parts = jumps or Jumps((), (), ())
        jumps = Jumps(
            (*parts.functions, *(watch.jumps[i] for i in acting)),
            (*parts.conditions, *(watch.conditions.functions[i] for i in acting)),
            (*parts.times, *(jnp.where(found.index == i, ts, jnp.inf * direction) for i in acting)),
        )
    return dataclasses.replace(problem, ts=times, jumps=jumps)


def read_events(problem: Problem, known: Problem, watch: Watch, found: LoopResult, result: LoopResult) -> Happenings:
    """The values at the requested times and at the events, from the solve of the known problem."""
    direction, events = problem.direction, found.events
    assert events is not None
    grid = known.ts * direction

    def rows_at(times: Array) -> State:
        # Equal times have equal rows; the first is never beyond what was reached.
        place = jnp.sum(grid[None, :] < (times * direction)[:, None], axis=1, dtype=jnp.int32)
        return jax.tree.map(lambda leaf: leaf[jnp.minimum(place, grid.shape[0] - 1)], result.ys)

    is_event = jnp.arange(watch.capacity) < events.num
    # Rows without an event are computed at the start, and thrown away.
    times = jnp.where(is_event, lax.stop_gradient(events.ts), lax.stop_gradient(problem.ts[0]))
    states = rows_at(times)
    index = jnp.where(is_event, events.index, 0)

    def settle(t: Time, y: State, event: Int[Array, ""]) -> tuple[Time, State]:
        def shift_of(condition: Callable[[Time, State], Array]) -> Callable[..., Time]:
            return lambda t, y: time_shift(condition, problem.field, t, y)

        shift = lax.switch(event, [shift_of(condition) for condition in watch.conditions.functions], t, y)
        shift = shift - lax.stop_gradient(shift)
        return t + shift, tree_axpy(shift, problem.field(t, y), y)

    event_ts, event_ys = jax.vmap(settle)(times, states, index)
    last = jnp.maximum(events.num - 1, 0)
    has_ended = found.status == Status.event
    # Beyond a terminal event values stay what they are there.
    end = known.ts[-1]
    is_beyond = has_ended & (problem.ts * direction > end * direction)
    ts = jnp.where(is_beyond, event_ts[last], problem.ts)
    ys = rows_at(jnp.where(is_beyond, end, lax.stop_gradient(problem.ts)))
    ys = jax.tree.map(lambda leaf, at: jnp.where(expand_like(is_beyond, leaf), at[last], leaf), ys, event_ys)
    failed = ~is_success(found.status)
    status = jnp.where(failed, found.status, result.status)
    status = jnp.where(has_ended & (result.status == Status.success), Status.event, status).astype(jnp.int32)
    lost = failed & (jnp.arange(problem.ts.shape[0]) >= found.num_saved)
    ys = jax.tree.map(lambda leaf: jnp.where(expand_like(lost, leaf), jnp.nan, leaf), ys)
    event_ts = jnp.where(is_event, event_ts, jnp.nan)
    event_ys = jax.tree.map(lambda leaf: jnp.where(expand_like(is_event, leaf), leaf, jnp.nan), event_ys)
    stats = result.stats
    stats = eqx.tree_at(lambda s: s.num_evals, stats, stats.num_evals + found.stats.num_evals)
    result = dataclasses.replace(result, ys=ys, status=status, stats=stats)
    return Happenings(
        result, ts, event_ts, event_ys, jnp.where(is_event, events.index, -1).astype(jnp.int32), events.num
    )
