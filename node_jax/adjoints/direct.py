"""Differentiation of the steps by JAX itself: forward, reverse, and any order of both."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.forward_only import forward_only
from node_jax.interpolate.dense import DensePath
from node_jax.stepping import LoopResult, Problem, Tape, integrate_single, take_step
from node_jax.stepping.costs import step_cost
from node_jax.stepping.happenings import jump_instead
from node_jax.stepping.outputs import first_rows
from node_jax.stepping.single import nan_beyond
from node_jax.tree import tree_freeze, tree_freeze_unless, tree_read, tree_slice, tree_where, tree_where_rows
from node_jax.types import State, Time


class ForwardMode(AbstractAdjoint):
    """Forward-mode derivatives: `jax.jvp`, `jax.jacfwd`, for few inputs and many outputs. No reverse mode.

    The solve is the plain loop, so its memory does not depend on the number of steps; a derivative costs about as much
    as the solve for each input. Step sizes are constants of the derivative.
    """

    @property
    def allows_jumps(self) -> bool:
        """True."""
        return True

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        why = (
            "odeint: nj.ForwardMode() has no reverse mode (jax.grad, jax.vjp). Use jax.jvp or jax.jacfwd, or "
            "adjoint=nj.CheckpointedAdjoint() for gradients."
        )
        return forward_only(_move_ends(problem, integrate_single(problem)[0]), why)


class DirectAdjoint(AbstractAdjoint):
    """The steps taken again as a bounded scan that JAX differentiates: forward, reverse, any order of both.

    A first loop finds the steps; it is not differentiated. A second takes the accepted ones again, in about
    sqrt(max_steps) blocks of as many steps, checkpointed at both levels; blocks and steps beyond the last are skipped.
    Gradients equal those of `CheckpointedAdjoint`. A value costs two solves, a gradient three; it compiles longer.
    """

    @property
    def allows_jumps(self) -> bool:
        """True."""
        return True

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        bare = dataclasses.replace(problem, reads_rows=False, wants_path=False, wants_errors=True)
        found, tape, _ = integrate_single(tree_freeze(bare))
        assert tape is not None
        end, path = _take_again(problem, tape, found.num_nodes)
        if problem.only_ends:
            y_end = problem.solver.read(end.z)
            ys = jax.tree.map(lambda y0, y1: jnp.stack([y0, y1][: problem.ts.shape[0]]), problem.y0, y_end)
        else:
            ys = end.ys
        result = dataclasses.replace(
            found,
            ys=nan_beyond(ys, found.num_saved),
            costs=end.costs,
            path=path,
            errors=found.errors if problem.wants_errors else None,
            times=found.times if problem.wants_errors else None,
            z_end=end.z,
        )
        return _move_ends(problem, result)


class _Carry(NamedTuple):
    z: State
    f: State | None
    ys: State | None
    costs: dict[str, Float[Array, ""]]


def _take_again(problem: Problem, tape: Tape, num_steps: Int[Array, ""]) -> tuple[_Carry, DensePath | None]:
    """The steps of a tape, in blocks.

    Returns:
        Where they lead, and the dense path if the problem wants one.
    """
    solver, ts, times = problem.solver, problem.ts, tape.times
    length = math.isqrt(problem.max_steps - 1) + 1
    num_blocks = -(-problem.max_steps // length)
    # The grid moves with the start of the solve; the lengths of its steps are constants.
    shift = ts[0] - lax.stop_gradient(ts[0])
    unused = jnp.full((num_blocks * length + 1 - times.shape[0],), jnp.inf, ts.dtype) * problem.direction
    times = jnp.concatenate([times, unused])
    stops = problem.stops()
    needs_nodes = problem.needs_dense

    def step(carry: _Carry, n: Int[Array, ""]) -> tuple[_Carry, State | None]:
        t0, t1 = times[n], times[n + 1]
        dt = t1 - t0
        # Under `jax.vmap` a step of no length is one of another lane, and may have no derivative where this one is.
        is_step = dt != 0
        field, moved, z0, f0 = tree_freeze_unless(is_step, (problem.field, shift, carry.z, carry.f))
        taken = take_step(problem, stops, field, t0 + moved, t1 + moved, dt, z0, f0)
        z1 = tree_where(is_step, taken.z1, carry.z)
        f1 = taken.f1 if problem.reuses_slope else None
        if problem.jumps is not None:
            is_jump = tree_read(tape.is_jump, n)
            z1, f1 = jump_instead(problem, problem.field, problem.jumps, is_jump, t0 + shift, carry.z, z1, f1)
        node = None
        if needs_nodes:
            coefficients = solver.coefficients(dt, taken.stages)
            node = jax.tree.map(lambda *leaves: jnp.stack(leaves), solver.read(z1), *coefficients)
        costs = {
            name: total + jnp.where(is_step, step_cost(name, solver, dt, carry.z, taken), 0)
            for name, total in carry.costs.items()
        }
        return _Carry(z1, f1, carry.ys, costs), node

    def skip(carry: _Carry, node: Any) -> tuple[_Carry, State | None]:
        return carry, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), node)

    def block(carry: _Carry, first: Int[Array, ""]) -> tuple[_Carry, State | None]:
        shapes = jax.eval_shape(step, carry, first)[1]
        inner = carry._replace(ys=None)

        def maybe(carry: _Carry, n: Int[Array, ""]) -> tuple[_Carry, State | None]:
            return lax.cond(n < num_steps, jax.checkpoint(step), lambda carry, _: skip(carry, shapes), carry, n)

        inner, nodes = lax.scan(maybe, inner, first + jnp.arange(length))
        ys = carry.ys
        if ys is not None:
            here = tree_slice(times, first, length + 1)
            start = jax.tree.map(lambda y, k: jnp.zeros_like(k[0]).at[0].set(y), solver.read(carry.z), nodes)
            ys = _read_rows(problem, here, shift, jax.tree.map(_prepend, start, nodes), ys)
        return inner._replace(ys=ys), nodes if problem.wants_path else None

    def maybe_block(carry: _Carry, first: Int[Array, ""]) -> tuple[_Carry, State | None]:
        shapes = jax.eval_shape(block, carry, first)[1]
        return lax.cond(first < num_steps, jax.checkpoint(block), lambda carry, _: skip(carry, shapes), carry, first)

    z0 = solver.start(problem.y0)
    f0 = None
    if problem.reuses_slope:
        # A solve that fails at its very start has no derivative there, and needs none.
        moves = jnp.any((times != ts[0]) & jnp.isfinite(times))
        f0 = solver.slope(*tree_freeze_unless(moves, (problem.field, ts[0], z0)))
    ys = None
    if not problem.only_ends:
        ys = jax.tree.map(lambda leaf: leaf[: ts.shape[0]], first_rows(problem, problem.judge_times()[1]).ys)
    costs = {name: jnp.zeros((), ts.dtype) for name in problem.costs}
    start = _Carry(z0, f0, ys, costs)
    end, nodes = lax.scan(maybe_block, start, jnp.arange(num_blocks) * length)
    if not problem.wants_path:
        return end, None
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), nodes)
    first = jax.tree.map(lambda y, k: jnp.zeros_like(k[0]).at[0].set(y), problem.y0, flat)
    return end, DensePath(times + shift, jax.tree.map(_prepend, first, flat), solver.num_coefficients)


def _prepend(first: Array, rest: Array) -> Array:
    return jnp.concatenate([first[None], rest])


def _read_rows(problem: Problem, times: Float[Array, " node"], shift: Time, nodes: State, ys: State) -> State:
    """`ys` with the rows whose times lie in these steps; every row is computed and most are thrown away."""
    direction = problem.direction
    path = DensePath(times + shift, nodes, problem.solver.num_coefficients)
    last = jnp.max(jnp.where(jnp.isfinite(times), times * direction, -jnp.inf))
    is_here = (problem.ts * direction > times[0] * direction) & (problem.ts * direction <= last)
    here = jnp.where(is_here, problem.ts, times[0])
    values = path.evaluate(here, direction)
    return tree_where_rows(is_here, values, ys)


@jax.custom_jvp
def _move(y: State, t: Time, slope: State) -> State:
    """`y`, which moves along `slope` when `t` does."""
    del t, slope
    return y


@_move.defjvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[State, State]:
    y, _, slope = primals
    y_dot, t_dot, _ = tangents
    return y, jax.tree.map(lambda dy, f: dy + t_dot.astype(f.dtype) * f, y_dot, slope)


def _move_ends(problem: Problem, result: LoopResult) -> LoopResult:
    """Rows that were not read off dense output move along the slope when their time moves away from the first."""
    ts, slope_at = problem.ts, problem.field
    if problem.only_ends and ts.shape[0] < 2:
        return result
    if problem.only_ends:
        y_end = jax.tree.map(lambda leaf: leaf[-1], result.ys)
        slope = slope_at(ts[-1], problem.solver.read(result.z_end))
        is_reached = result.num_saved == 2
        slope = tree_where(is_reached, slope, jax.tree.map(jnp.zeros_like, slope))
        moved = _move(y_end, ts[-1] - ts[0], slope)
        ys = jax.tree.map(lambda leaf, end: jnp.stack([leaf[0], end]), result.ys, moved)
    else:
        slope = slope_at(ts[0], problem.y0)
        slope = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), slope)
        is_start = ts == ts[0]
        ys = jax.vmap(_move, in_axes=(0, 0, None))(result.ys, jnp.where(is_start, ts - ts[0], 0), slope)
    return dataclasses.replace(result, ys=ys)
