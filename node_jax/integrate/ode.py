"""`odeint`: solve an ordinary differential equation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from node_jax.adjoints import AbstractAdjoint
from node_jax.controllers import AbstractController, direction_of
from node_jax.events import Jump
from node_jax.integrate.arrays import close, with_arrays
from node_jax.integrate.defaults import DEFAULT_ADJOINT, DEFAULT_CONTROLLER, DEFAULT_MAX_STEPS, DEFAULT_SOLVER
from node_jax.integrate.events import (
    Happening,
    add_evals,
    as_events,
    bind,
    close_events,
    known_jumps,
    known_times,
    places_of,
    read_events,
    search_problem,
    settle,
    settle_if_any,
    watch_of,
    with_known_jumps,
)
from node_jax.integrate.outputs import apply_save, steps_of
from node_jax.integrate.staging import jit_unless_differentiated
from node_jax.integrate.validate import (
    Wanted,
    as_derivative,
    as_state,
    as_times,
    bound_steps,
    check_events,
    check_field,
    check_parts,
    check_wanted,
    explain_forward_mode,
    num_stops,
)
from node_jax.solution import Solution
from node_jax.solvers import AbstractSolver
from node_jax.stepping import Problem, integrate_single
from node_jax.stepping.controls import jump_times, knots_of_holds
from node_jax.tree import tree_freeze, tree_without_integrals
from node_jax.types import Args, State, VectorField


def odeint(
    field: VectorField,
    y0: State,
    ts: Any,
    args: Args = None,
    *,
    solver: Any = DEFAULT_SOLVER,
    controller: AbstractController = DEFAULT_CONTROLLER,
    adjoint: AbstractAdjoint = DEFAULT_ADJOINT,
    events: Any = (),
    save: Callable[[Any, Any, Any], Any] | None = None,
    record: tuple[str, ...] = (),
    dense: bool = False,
    steps: bool = False,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Solution:
    r"""Solve dy/dt = field(t, y, args) from y(ts[0]) = y0, and return y at every time in `ts`.

    The call is compiled, on its own or within your own `jax.jit`; take `jax.grad` or `jax.vmap` of it as you like.
    Gradients flow to `y0`, `ts`, `args`, the arrays of `field`, and to arrays that a plain function closes over. They
    are exact for the steps that were taken: step sizes are constants of the gradient.

    Arguments:
        field: `field(t, y, args) -> dy/dt`, an Equinox module or a plain function; dy/dt has the structure and shapes
            of `y`. As under any `jax.jit`, a plain function is read once: change what it depends on through `args`, not
            by assigning to a variable or an attribute that it reads.
        y0: initial state, a pytree of floating-point arrays.
        ts: times of shape (time,), `ts[0]` the initial one; sorted in either direction, repeats allowed (they repeat
            the output and cost nothing). Outputs are interpolated and do not limit the step size.
        args: anything else the field needs. Python floats in it become arrays, so that a new value does not compile
            anew; integers, strings and functions stay as they are, and a new value of those does. Control inputs are
            paths of `nj.interpolate`, which the field evaluates; a step ends at each knot of a zero-order hold
            (docs/controls.md).
        solver: `nj.Tsit5()`, `nj.RK4()` or another of ours, or any diffrax solver, which then runs in diffrax through
            the same call.
        controller: `nj.PIController(rtol, atol)` for adaptive steps, `nj.ConstantStep(dt)` for steps of one size,
            `nj.FixedSteps(n)` for n steps between requested times.
        adjoint: how the gradient is computed; `nj.CheckpointedAdjoint()` unless you have a reason (docs/adjoints.md).
        events: `nj.Event(condition)` and `nj.Jump(times, jump)`, or several in a tuple (docs/events.md). After a
            terminal event all rows repeat the state there. A solve with an `Event` is made twice: to find its times,
            and with them.
        save: `save(t, y, args)` is returned in `ys` in place of y, any pytree of floating-point arrays.
        record: names of sums along the solve to return in `Solution.costs`, differentiable: "error", Σ |dt| ‖error‖,
            and "stiffness", the sum of an estimate of the largest eigenvalue (Pal et al. 2021, arXiv:2105.03918).
        dense: keep the dense output of every step, for `Solution.evaluate` and `Solution.derivative`. Costs
            `max_steps` times 3 states and more (4 for `nj.Tsit5`) of memory, whatever the solve takes.
        steps: return time, size and error of every accepted step in `Solution.steps`. Costs `max_steps` numbers each.
        max_steps: bound on attempted steps. Memory grows with it, up to a bound (see the adjoint).

    Returns:
        A `Solution`: `ys[i]` is y(ts[i]), `status` says how it ended (see `nj.check`), `stats` what it cost.

    Raises:
        ValueError, TypeError: for shapes, dtypes, times or parts that cannot work, before anything is compiled. A
            failure at run time is a status, with NaN in the rows that were not reached.

    Reference: Chen et al. (2018), arXiv:1806.07366.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> sol = nj.odeint(lambda t, y, args: -args * y, jnp.array([1.0]), jnp.linspace(0, 1, 5), 2.0)
        >>> bool(abs(nj.check(sol).ys[-1, 0] - jnp.exp(-2.0)) < 1e-4)
        True
    """
    check_field(field)
    check_parts(solver, controller, adjoint, max_steps)
    times = as_times(ts)
    state = as_state(y0)
    wanted = Wanted.of(record, dense=dense, steps=steps)
    check_wanted(solver, wanted, save)
    controller.check_state(tree_without_integrals(state))
    if isinstance(solver, AbstractSolver):
        solver.check_state(state)
    else:
        # diffrax is imported only by those who use it: it doubles the time `import node_jax` takes.
        from node_jax.integrate.diffrax_backend import check_with_diffrax

        check_with_diffrax(solver, controller, adjoint, bool(knots_of_holds((field, args))))
    num_jumps = sum(ts.size for ts in knots_of_holds((field, args)))
    happenings = as_events(events, times.dtype)
    check_events(happenings, solver, adjoint)
    max_steps = bound_steps(controller, times, int(max_steps), num_jumps + num_stops(happenings))
    numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, args)
    controller = with_arrays(controller, times.dtype)
    try:
        return _solve(field, state, times, numbers, solver, controller, adjoint, happenings, save, wanted, max_steps)
    except TypeError as error:
        raise explain_forward_mode(error) from error


@jit_unless_differentiated
def _solve(
    field: VectorField,
    y0: State,
    ts: jax.Array,
    args: Args,
    solver: Any,
    controller: AbstractController,
    adjoint: AbstractAdjoint,
    events: tuple[Happening, ...],
    save: Callable[[Any, Any, Any], Any] | None,
    wanted: Wanted,
    max_steps: int,
) -> Solution:
    if not isinstance(solver, AbstractSolver):
        from node_jax.integrate.diffrax_backend import solve_with_diffrax

        solution = solve_with_diffrax(field, y0, ts, args, solver, controller, adjoint, max_steps)
        return eqx.tree_at(lambda s: s.ys, solution, apply_save(save, ts, solution.ys, y0, args))

    def derivative(t: jax.Array, y: State) -> State:
        return as_derivative(field(t, y, args), y)

    converted = close(derivative, ts[0], y0)
    direction = direction_of(ts)
    problem = Problem(
        converted,
        y0,
        ts,
        direction,
        solver,
        controller,
        jump_ts=jump_times(knots_of_holds((field, args)), direction),
        max_steps=max_steps,
        costs=wanted.record,
        wants_path=wanted.dense,
        wants_errors=wanted.steps,
    )
    functions = bind(close_events(events, ts[0], y0, args), args)
    times = [event.times for event in events if isinstance(event, Jump)]
    problem = dataclasses.replace(problem, jumps=known_jumps(events, functions, times))
    watch = watch_of(events, functions)
    if watch is None:
        adjoint.check(problem)
        result = adjoint.solve(problem)
        solution = Solution(ts, result.ys, result.status, result.stats, result.costs, steps_of(result), result.path)
        return eqx.tree_at(lambda s: s.ys, solution, apply_save(save, ts, solution.ys, y0, args))
    searched = search_problem(problem, watch)
    search = integrate_single(tree_freeze(searched))[0]
    assert search.events is not None
    known = known_times(searched, search.events, search.status)
    jumps = with_known_jumps(problem.jumps, watch, known.jump_times)
    problem = dataclasses.replace(problem, ts=known.ts, asked_ts=problem.ts, jumps=jumps)
    adjoint.check(problem)
    result = adjoint.solve(problem)
    found = (search.events, search.status, search.num_saved)
    places = places_of(searched, known.ts, search.events, result.ys)
    settled = settle_if_any(search.events.num, lambda places: settle(searched, places), places)
    got = read_events(searched, known.ts, found, (result.ys, result.status), settled)
    return Solution(
        ts,
        apply_save(save, got.ts, got.ys, y0, args),
        got.status,
        add_evals(result.stats, search.stats),
        result.costs,
        steps_of(result),
        result.path,
        got.event_ts,
        got.event_ys,
        got.event_index,
        got.num_events,
    )
