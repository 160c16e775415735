"""Events along a solve: which conditions are watched, what has fired, and what an event does.

A crossing is found in a step that was accepted otherwise. The step is then taken again so that it ends at the root, and
the event fires there.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.events import Conditions
from node_jax.interpolate.dense import DensePath
from node_jax.solvers import AbstractSolver
from node_jax.status import Status
from node_jax.stepping.batching import any_over_batch
from node_jax.tree import tree_where
from node_jax.types import BoundField, State, Time

NONE = -1
"""The index of no event."""


class Watch(eqx.Module):
    """The events that are watched along a solve."""

    conditions: Conditions
    jumps: tuple[Callable[[Time, State], State] | None, ...]
    terminates: tuple[bool, ...] = eqx.field(static=True)
    max_events: tuple[int, ...] = eqx.field(static=True)

    @property
    def capacity(self) -> int:
        """How many events may be recorded."""
        return sum(self.max_events)


class Events(NamedTuple):
    """What is known of the events of a solve."""

    signs: Float[Array, " event"]
    """Of each condition, where the solve stands."""
    pending: Int[Array, ""]
    """The event that fires at `target`, where the next step is to end."""
    target: Time
    counts: Int[Array, " event"]
    """How often each has fired."""
    ts: Float[Array, " record"]
    """Times of all that have fired, in their order; NaN beyond."""
    which: Int[Array, " record"]
    """Which fired."""
    num: Int[Array, ""]


class Fired(NamedTuple):
    """What an event makes of the end of a step."""

    z: State
    f: State | None
    events: Events
    status: Int[Array, ""]
    """`success` unless the event ends the solve."""


def first_events(watch: Watch, t: Time, y: State, slope: State, direction: Time) -> Events:
    """Nothing has fired."""
    values = watch.conditions.at(t, y)
    # A condition that is exactly zero has the sign of its rate.
    signs = jnp.where(values == 0, watch.conditions.signs_ahead(t, y, slope, direction), jnp.sign(values))
    num = len(watch.max_events)
    zero = jnp.zeros((), jnp.int32)
    return Events(
        signs=jnp.where(jnp.isfinite(signs), signs, 0),
        pending=jnp.full((), NONE, jnp.int32),
        target=t,
        counts=jnp.zeros((num,), jnp.int32),
        ts=jnp.full((watch.capacity,), jnp.nan, t.dtype),
        which=jnp.full((watch.capacity,), NONE, jnp.int32),
        num=zero,
    )


def seek(
    watch: Watch,
    now: Events,
    is_wanted: Bool[Array, ""],
    t0: Time,
    t1: Time,
    nodes: State,
    num_coefficients: int,
    direction: Time,
) -> tuple[Bool[Array, ""], Events]:
    """Look for a crossing in a step.

    Arguments:
        watch: the events.
        now: what is known at t0.
        is_wanted: whether the step counts.
        t0, t1: its ends.
        nodes: its dense output, leaves (2, 1 + coefficient, ...).
        num_coefficients: how many coefficients it has.
        direction: of the solve.

    Returns:
        Whether an event is pending now, so that the step must be taken again; and what is known then, at t1 if not.
    """
    path = DensePath(jnp.stack([t0, t1]), nodes, num_coefficients)

    def state_at(t: Time) -> State:
        return jax.tree.map(lambda leaf: leaf[0], path.evaluate(t[None], direction))

    # What is only recorded and has been as often as it may be is not watched any more.
    limits = jnp.asarray(watch.max_events, jnp.int32)
    acts = jnp.asarray([jump is not None for jump in watch.jumps])
    is_watched = (now.counts < limits) | acts
    crossing, signs_end = watch.conditions.first_crossing(state_at, t0, t1, now.signs, is_watched)
    is_found = is_wanted & crossing.is_found
    signs_found = now.signs.at[crossing.event].set(crossing.sign)
    return is_found, now._replace(
        signs=jnp.where(is_wanted, jnp.where(is_found, signs_found, signs_end), now.signs),
        pending=jnp.where(is_found, crossing.event, now.pending),
        target=jnp.where(is_found, crossing.t, now.target),
    )


def fire(
    watch: Watch,
    solver: AbstractSolver,
    field: BoundField,
    now: Events,
    is_firing: Bool[Array, ""],
    t: Time,
    dt: Time,
    z: State,
    f: State | None,
) -> Fired:
    """Let the pending event act at (t, z), where a step has ended.

    Arguments:
        watch: the events.
        solver: which method's internal state z is.
        field: dy/dt.
        now: what is known.
        is_firing: whether it is time.
        t, z: where the step ended.
        dt: the step's size.
        f: the slope that the next step would take without the event.
    """
    event = jnp.maximum(now.pending, 0)
    limits = jnp.asarray(watch.max_events, jnp.int32)
    is_over = now.counts[event] >= limits[event]
    is_last = now.counts[event] + 1 >= limits[event]
    ends = jnp.asarray(watch.terminates)[event] & is_last
    status = jnp.where(is_over, Status.max_events, jnp.where(ends, Status.event, Status.success))
    place = jnp.where(is_firing & ~is_over, now.num, watch.capacity)

    def act(z: State, f: State | None) -> tuple[State, State | None, Array]:
        branches = [jump or _stay for jump in watch.jumps]
        z1 = lax.switch(event, branches, t, z)
        signs = watch.conditions.signs_behind(t, solver.read(z), now.signs).at[event].set(-now.signs[event])
        if any(jump is not None for jump in watch.jumps):
            acts = jnp.asarray([jump is not None for jump in watch.jumps])[event]
            signs = jnp.where(acts, watch.conditions.signs_ahead(t, z1, field(t, z1), dt), signs)
        return z1, None if f is None else solver.slope(field, t, z1), signs

    z1, f1, signs = lax.cond(any_over_batch(is_firing), act, lambda z, f: (z, f, now.signs), z, f)
    z, f = tree_where(is_firing, (z1, f1), (z, f))
    events = Events(
        signs=jnp.where(is_firing, signs, now.signs),
        pending=jnp.where(is_firing, NONE, now.pending).astype(jnp.int32),
        target=now.target,
        counts=now.counts.at[event].add(is_firing.astype(jnp.int32)),
        ts=now.ts.at[place].set(t, mode="drop"),
        which=now.which.at[place].set(event, mode="drop"),
        num=now.num + (is_firing & ~is_over),
    )
    return Fired(z, f, events, jnp.where(is_firing, status, Status.success).astype(jnp.int32))


def _stay(t: Time, z: State) -> State:
    del t
    return z
