"""`odeint_batch`: solve many initial value problems, each with steps of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from node_jax.adjoints import AbstractAdjoint
from node_jax.controllers import AbstractController, direction_of
from node_jax.errors import require_count
from node_jax.events import Jump
from node_jax.integrate.arrays import close, with_arrays
from node_jax.integrate.defaults import DEFAULT_ADJOINT, DEFAULT_CONTROLLER, DEFAULT_MAX_STEPS, DEFAULT_SOLVER
from node_jax.integrate.devices import check_mesh, mesh_of
from node_jax.integrate.events import (
    Happening,
    as_events,
    bind,
    close_events,
    known_jumps,
    watch_of,
)
from node_jax.integrate.mapped import Mapped, as_hint, as_mapped
from node_jax.integrate.solve_batch import Settings, Whole, solve_here, solve_over_devices
from node_jax.integrate.staging import jit_unless_differentiated
from node_jax.integrate.validate import (
    Wanted,
    as_derivative,
    bound_steps,
    check_events,
    check_field,
    check_parts,
    check_wanted,
    errors_of,
    explain_forward_mode,
    num_stops,
)
from node_jax.interpolate.base import Sample
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.stepping import Problem
from node_jax.stepping.controls import ControlledField, Reads, jump_times, knots_of_holds, paths_in, with_known
from node_jax.tree import tree_without_integrals
from node_jax.types import Args, State, VectorField


def odeint_batch(
    field: VectorField,
    y0s: State,
    ts: Any,
    args: Args = None,
    *,
    in_axes: Any = (0, None, None),
    lanes: int | None = None,
    max_rows: int | None = None,
    mesh: Any = None,
    batch_axis: str = "data",
    cost_hint: Any = None,
    solver: AbstractSolver = DEFAULT_SOLVER,
    controller: AbstractController = DEFAULT_CONTROLLER,
    adjoint: AbstractAdjoint = DEFAULT_ADJOINT,
    events: Any = (),
    save: Callable[[Any, Any, Any], Any] | None = None,
    record: tuple[str, ...] = (),
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Solution:
    r"""Solve dy/dt = field(t, y, args) for many trajectories, each with its own step sizes, times and status.

    The field is written for one trajectory, and its parameters are shared by all. `lanes` trajectories are stepped at
    once; whoever has finished makes room for the next of the queue, so that nobody waits for the slowest. Gradients are
    exact for the steps that were taken, as those of `nj.odeint`; what is shared gets one summed gradient, never one for
    each trajectory.

    Arguments:
        field: `field(t, y, args) -> dy/dt` of one trajectory.
        y0s: initial states, a pytree of floating-point arrays with a leading axis of trajectories.
        ts: times of shape (time,) for all, or (batch, time) with `in_axes=(0, 0, None)`. Rows are sorted, in either
            direction, each for itself; a row with fewer times repeats its last one, which costs nothing.
        args: anything else the field needs, shared or with an axis of trajectories. Control inputs of each trajectory
            are a path made by `jax.vmap(nj.interpolate.Linear)(ts, values)` and `in_axes` of 0 (docs/controls.md).
        in_axes: the axes of trajectories of `(y0s, ts, args)` as in `jax.vmap`, nested where they differ within a tree:
            `(0, None, (None, 0))`. `None` is shared by all.
        lanes: how many trajectories to step at once. `None` takes on a CPU all up to 128 and else 64, of very many or
            of equal steps 256; on an accelerator all; fewer of a large state (docs/batches.md). Results depend on it
            by rounding alone.
        max_rows: bound on the attempts of all lanes together while the queue is served, which sizes the record that a
            gradient needs; on a GPU it is rounded up to a multiple of 16. `None` allows `max_steps`, and for each
            further turn of the queue as many again, but at most 512, or more where steps are not adaptive
            (docs/batches.md). What does not fit has the status `tape_full`: those that start last.
        mesh: a `jax.sharding.Mesh`: trajectories are dealt in turn to the devices along its axis `batch_axis`, each
            device has a queue of its own and `lanes` of its own. Nothing is exchanged between devices before the
            gradient of what is shared is summed. `None` takes the mesh of an input whose first axis is sharded over
            an explicit `batch_axis`, else one device.
        batch_axis: the name of that axis.
        cost_hint: what each trajectory is expected to cost, shape (batch,), in any unit: a parameter that makes it
            stiff, or the evaluations of the last epoch. Where there is a queue or a mesh, those that cost most start
            first, so that nothing long is left at the end, and devices get alike. `None` takes the span of the times
            where rows have their own, else the order of the batch.
        events: as in `nj.odeint`; every trajectory has its own. The times of an `nj.Jump` may be a row a trajectory.
        solver, controller, adjoint, save, record, max_steps: as in `nj.odeint`; `adjoint` is `nj.CheckpointedAdjoint`.

    Returns:
        A `Solution` whose leaves have a leading axis of trajectories: `ys[i, j]` is the state of trajectory i at its
        time j, `status` and `stats` are one a trajectory; `stats.batch_efficiency` tells how busy the lanes were.

    Raises:
        ValueError, TypeError: for shapes, axes, times or parts that cannot work, before anything is compiled.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> rates = jnp.array([1.0, 2.0, 3.0])
        >>> sol = nj.odeint_batch(lambda t, y, a: -a * y, jnp.ones((3, 1)), [0.0, 1.0], rates, in_axes=(0, None, 0))
        >>> bool(jnp.max(abs(nj.check(sol).ys[:, -1, 0] - jnp.exp(-rates))) < 1e-4)
        True
    """
    with errors_of("odeint_batch"):
        check_field(field)
        check_parts(solver, controller, adjoint, max_steps)
        if not isinstance(solver, AbstractSolver):
            raise ValueError(
                f"odeint_batch: expected a native solver such as nj.Tsit5(), got {type(solver).__name__}. Use jax.vmap "
                "over nj.odeint for a solver of diffrax."
            )
        for name, value in (("lanes", lanes), ("max_rows", max_rows)):
            if value is not None:
                require_count("odeint_batch", name, value)
        mapped = as_mapped(y0s, ts, args, in_axes)
        wanted = Wanted.of(record)
        check_wanted(solver, wanted, save)
        one = _example(mapped.y0, mapped.is_y0_mapped)
        controller.check_state(tree_without_integrals(one))
        solver.check_state(one)
        times = _example(mapped.ts, mapped.is_ts_mapped)
        num_jumps = sum(ts.shape[-1] for ts, _ in _holds(field, mapped))
        happenings = as_events(events, times.dtype, mapped.size)
        check_events(happenings, solver, adjoint)
        max_steps = bound_steps(controller, times, int(max_steps), num_jumps + num_stops(happenings))
        controller = with_arrays(controller, times.dtype)
        stays = mesh is None
        if stays:
            mesh = mesh_of(batch_axis, jax.tree.leaves((mapped.y0, mapped.ts, mapped.args)))
        else:
            check_mesh(mesh, batch_axis)
        hint = as_hint(cost_hint, mapped.size)
        widths = (None if lanes is None else int(lanes), None if max_rows is None else int(max_rows))
        placing = (mesh, batch_axis, stays)
        try:
            return _solve(
                field, mapped, hint, solver, controller, adjoint, happenings, save, wanted, max_steps, *widths, *placing
            )
        except TypeError as error:
            raise explain_forward_mode(error, "jax.vmap over nj.odeint with adjoint=nj.ForwardMode()") from error


@jit_unless_differentiated
def _solve(
    field: VectorField,
    mapped: Mapped,
    cost_hint: jax.Array | None,
    solver: AbstractSolver,
    controller: AbstractController,
    adjoint: AbstractAdjoint,
    events: tuple[Happening, ...],
    save: Callable[[Any, Any, Any], Any] | None,
    wanted: Wanted,
    max_steps: int,
    lanes: int | None,
    max_rows: int | None,
    mesh: Any,
    batch_axis: str,
    stays: bool,
) -> Solution:
    def derivative(t: jax.Array, y: State, args: Args, samples: list[Sample]) -> State:
        return as_derivative(field(t, y, with_known(args, t, samples)), y)

    y0, args = _example(mapped.y0, mapped.is_y0_mapped), _example(mapped.args, mapped.is_args_mapped)
    times = _example(mapped.ts, mapped.is_ts_mapped)
    try:
        samples = [path.sample(times[0]) for path in paths_in(args)]
        function = close(derivative, times[0], y0, args, samples)
        functions = close_events(events, times[0], y0, args)
    except (TypeError, ValueError) as error:
        error.add_note(
            "nj.odeint_batch calls the field for one trajectory. What has an axis of trajectories in args is named in "
            "in_axes, for example in_axes=(0, None, 0)."
        )
        raise
    direction = jax.vmap(direction_of)(mapped.ts) if mapped.is_ts_mapped else direction_of(mapped.ts)
    reads = Reads.of(function, times[0], y0, args, samples)
    jumps, are_jumps_mapped = _jump_times(field, mapped, direction)

    def problem_of(
        function: Any, args: Args, y0: State, ts: Any, direction: Any, controller: Any, jumps: Any, cost_hint: Any
    ) -> Problem:
        bound = ControlledField(function, args, reads)
        settings = {"jump_ts": jumps, "cost_hint": cost_hint, "max_steps": max_steps, "costs": wanted.record}
        return Problem(bound, y0, ts, direction, solver, controller, **settings)

    problem = problem_of(function, mapped.args, mapped.y0, mapped.ts, direction, controller, jumps, cost_hint)
    shared = jax.tree.map(lambda _: False, (function, controller))
    is_mapped = problem_of(
        shared[0],
        mapped.is_args_mapped,
        mapped.is_y0_mapped,
        mapped.is_ts_mapped,
        mapped.is_ts_mapped,
        shared[1],
        are_jumps_mapped,
        None if cost_hint is None else True,
    )
    known_ts = [event.times for event in events if isinstance(event, Jump)]
    bound = bind(functions, mapped.args)
    bound_is_mapped = bind(jax.tree.map(lambda _: False, functions), mapped.is_args_mapped)
    problem = dataclasses.replace(problem, jumps=known_jumps(events, bound, known_ts))
    jumps_are_mapped = known_jumps(events, bound_is_mapped, [ts.ndim == 2 for ts in known_ts])
    is_mapped = dataclasses.replace(is_mapped, jumps=jumps_are_mapped)
    adjoint.check(problem)
    whole = Whole(problem, watch_of(events, bound))
    whole_is_mapped = Whole(is_mapped, watch_of(events, bound_is_mapped))
    settings = Settings(adjoint, save, lanes, max_rows)
    if mesh is None:
        solution = solve_here(whole, whole_is_mapped, mapped.size, settings)
    else:
        solution = solve_over_devices(mesh, batch_axis, whole, whole_is_mapped, mapped.size, settings, stays=stays)
    return dataclasses.replace(solution, ts=mapped.ts)


def _example(tree: Any, is_mapped: Any) -> Any:
    """A tree with the shapes and dtypes of one trajectory's."""
    return jax.tree.map(
        lambda leaf, has_axis: jnp.zeros(leaf.shape[1:], leaf.dtype) if has_axis else leaf, tree, is_mapped
    )


def _holds(field: VectorField, mapped: Mapped) -> list[tuple[jax.Array, bool]]:
    """The knots of every zero-order hold, and whether each trajectory has its own."""
    of_args = zip(knots_of_holds(mapped.args), knots_of_holds(mapped.is_args_mapped), strict=True)
    return [*((ts, False) for ts in knots_of_holds(field)), *((ts, bool(is_mapped)) for ts, is_mapped in of_args)]


def _jump_times(field: VectorField, mapped: Mapped, direction: jax.Array) -> tuple[Any, bool | None]:
    """The times at which the field jumps, in the order of each solve, and whether they differ between trajectories."""
    holds = _holds(field, mapped)
    if not holds:
        return None, None
    knots, axes = [ts for ts, _ in holds], [0 if is_mapped else None for _, is_mapped in holds]
    if not mapped.is_ts_mapped and all(axis is None for axis in axes):
        return jump_times(knots, direction), False
    return jax.vmap(jump_times, in_axes=(axes, 0 if mapped.is_ts_mapped else None))(knots, direction), True
