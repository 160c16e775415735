"""What may happen in an attempt beside a step: an event that is found or fires, a jump of the state."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from node_jax.events import Jumps
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.problem import Problem
from node_jax.stepping.progress import End, Progress
from node_jax.stepping.watch import fire, seek
from node_jax.tree import tree_where
from node_jax.types import BoundField, State, Time


def nodes_of(y0: State, y1: State, coefficients: tuple[State, ...] | None) -> State:
    """The dense output of one step as the nodes of a `DensePath`."""
    assert coefficients is not None
    end = jax.tree.map(lambda *leaves: jnp.stack(leaves), y1, *coefficients)
    return jax.tree.map(lambda start, end: jnp.stack([jnp.zeros_like(end).at[0].set(start), end]), y0, end)


def look_for_events(
    problem: Problem, now: Progress, end: End, nodes: State, is_wanted: Bool[Array, ""], is_firing: Bool[Array, ""]
) -> tuple[End, Bool[Array, ""], Int[Array, ""]]:
    """Let a pending event fire, or find one in this step, which is made again then with its end there.

    Returns:
        The end of the attempt, whether an event was found, and the status that an event ends the solve with.
    """
    watch, solver = problem.watch, problem.solver
    assert watch is not None
    assert end.events is not None

    is_found, sought = seek(
        watch, end.events, is_wanted, now.t, end.t, nodes, solver.num_coefficients, problem.direction
    )
    fired = fire(watch, solver, problem.field, sought, is_firing, end.t, end.t - now.t, end.z, end.f)
    dt, memory = tree_where(is_found, (now.dt, now.memory), (end.dt, end.memory))
    return End(end.accept & ~is_found, end.t, fired.z, fired.f, dt, memory, fired.events), is_found, fired.status


def jump_if_due(problem: Problem, now: Progress, end: End, is_jump: Bool[Array, ""]) -> End:
    """A jump of the state in place of the attempt: a step of no length."""
    assert problem.jumps is not None
    z, f = jump_instead(problem, problem.field, problem.jumps, is_jump, now.t, now.z, end.z, end.f)
    events = now.events
    if events is not None and problem.watch is not None:
        signs = problem.watch.conditions.signs_ahead(now.t, z, problem.field(now.t, z), now.dt)
        events = events._replace(signs=signs)
    t, dt, memory, events = tree_where(
        is_jump, (now.t, now.dt, now.memory, events), (end.t, end.dt, end.memory, end.events)
    )
    return End(end.accept | is_jump, t, z, f, dt, memory, events)


def jump_instead(
    problem: Problem,
    field: BoundField,
    jumps: Jumps,
    is_jump: Bool[Array, ""],
    t: Time,
    z: State,
    z1: State,
    f1: State | None,
) -> tuple[State, State | None]:
    """(z1, f1), or where `is_jump` holds the state after the jumps at t from z, and the slope there."""

    def jump(z1: State, f1: State | None) -> tuple[State, State | None]:
        after = jumps.apply(field, t, z)
        slope = None if f1 is None else problem.solver.slope(field, t, after)
        return tree_where(is_jump, (after, slope), (z1, f1))

    return lax.cond(any_over_batch(is_jump), jump, lambda z1, f1: (z1, f1), z1, f1)
