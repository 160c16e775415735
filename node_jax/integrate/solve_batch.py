"""Solves a batch of checked problems: with its events, on one device or on all of a mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.adjoints import AbstractAdjoint
from node_jax.integrate.devices import over_devices
from node_jax.integrate.events import (
    add_evals,
    known_times,
    places_of,
    read_events,
    search_problem,
    settle,
    settle_if_any,
    with_known_jumps,
)
from node_jax.integrate.outputs import apply_save
from node_jax.solution import Solution
from node_jax.stepping import Batch, Problem, integrate_lanes
from node_jax.stepping.batch import choose_lanes, choose_max_rows, expected_costs, lend
from node_jax.stepping.controls import ControlledField
from node_jax.stepping.watch import Watch
from node_jax.tree import tree_freeze
from node_jax.types import State


class Whole(NamedTuple):
    """All that a batch of solves reads; or for each leaf of that, whether it has an axis of trajectories."""

    problem: Problem
    watch: Watch | None


class Settings(NamedTuple):
    """How a batch is solved."""

    adjoint: AbstractAdjoint
    save: Callable[[Any, Any, Any], Any] | None
    lanes: int | None
    max_rows: int | None


def solve_over_devices(
    mesh: Any, batch_axis: str, whole: Whole, is_mapped: Whole, size: int, settings: Settings, *, stays: bool
) -> Solution:
    """The solution of all trajectories, each device with its part of them; see `over_devices`."""
    arrays, static = eqx.partition(whole, eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    flags = jax.tree.leaves(jax.tree.map(lambda flag, leaf: flag if eqx.is_array(leaf) else None, is_mapped, whole))
    num_devices = mesh.shape[batch_axis]
    num_rows = -(-size // num_devices)

    def run(leaves: list[jax.Array]) -> tuple[Solution, jax.Array]:
        here = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        solution = solve_here(here, is_mapped, num_rows, settings)
        stats = dataclasses.replace(solution.stats, num_executed=None)
        assert solution.stats.num_executed is not None
        return dataclasses.replace(solution, ts=None, stats=stats), solution.stats.num_executed[None]

    expected = expected_costs(_batch(whole.problem, is_mapped.problem, size))
    solution, num_executed = over_devices(mesh, batch_axis, leaves, flags, size, run, expected=expected, stays=stays)
    # All devices are taken until the last has finished.
    num_executed = (jnp.max(num_executed) * num_devices).astype(jnp.int32)
    return dataclasses.replace(solution, stats=dataclasses.replace(solution.stats, num_executed=num_executed))


def solve_here(whole: Whole, is_mapped: Whole, size: int, settings: Settings) -> Solution:
    """The solution of all trajectories on one device."""
    adjoint, save, lanes, max_rows = settings
    problem, watch = whole
    batch = _batch(problem, is_mapped.problem, size)
    num_lanes = choose_lanes(lanes, batch)
    max_rows = choose_max_rows(max_rows, batch, num_lanes)
    if watch is None:
        result = adjoint.solve_batch(batch, num_lanes, max_rows)
        ys = _saved(save, batch, problem.ts, bool(is_mapped.problem.ts), result.ys)
        return Solution(problem.ts, ys, result.status, result.stats, result.costs)

    assert is_mapped.watch is not None
    search_is_mapped = search_problem(is_mapped.problem, is_mapped.watch)
    searched = _batch(search_problem(problem, watch), search_is_mapped, size)
    frozen = _batch(tree_freeze(searched.problem), search_is_mapped, size)
    search = integrate_lanes(frozen, num_lanes, max_rows)[0]
    assert search.events is not None
    known = searched.map(known_times, searched.rows(), search.events, search.status)
    known_is_mapped = dataclasses.replace(
        is_mapped.problem,
        ts=True,
        asked_ts=is_mapped.problem.ts,
        jumps=with_known_jumps(is_mapped.problem.jumps, is_mapped.watch, [True] * len(known.jump_times)),
    )
    jumps = with_known_jumps(problem.jumps, watch, known.jump_times)
    problem = dataclasses.replace(problem, ts=known.ts, asked_ts=problem.ts, jumps=jumps)
    result = adjoint.solve_batch(_batch(problem, known_is_mapped, size), num_lanes, max_rows)
    found, has_event = (search.events, search.status, search.num_saved), search.events.num > 0
    places = searched.map(places_of, searched.rows(), known.ts, search.events, result.ys)
    settled = settle_if_any(
        search.events.num, lambda places: searched.map(settle, *lend(has_event, (searched.rows(), places))), places
    )
    got = searched.map(read_events, searched.rows(), known.ts, found, (result.ys, result.status), settled)
    return Solution(
        known.ts,
        _saved(save, searched, got.ts, True, got.ys),
        got.status,
        add_evals(result.stats, search.stats),
        result.costs,
        event_ts=got.event_ts,
        event_ys=got.event_ys,
        event_index=got.event_index,
        num_events=got.num_events,
    )


def _batch(problem: Problem, is_mapped: Problem, size: int) -> Batch:
    return Batch(problem, tuple(jax.tree.leaves(is_mapped)), size)


def _saved(
    save: Callable[[Any, Any, Any], Any] | None, batch: Batch, ts: jax.Array, is_ts_mapped: bool, ys: State
) -> Any:
    """What `save` makes of the rows of every trajectory."""
    if save is None:
        return ys

    def saved(problem: Problem, ts: jax.Array, ys: State) -> Any:
        assert isinstance(problem.field, ControlledField)
        return apply_save(save, ts, ys, problem.y0, problem.field.args)

    return batch.map(saved, batch.rows(), ts, ys, in_axes=(0 if is_ts_mapped else None, 0))
