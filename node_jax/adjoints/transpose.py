r"""The transpose of one step, applied from the last to the first.

    z̄_n = (∂z_{n+1}/∂z_n)ᵀ z̄_{n+1} + contributions of the outputs read inside step n,
    θ̄ += (∂z_{n+1}/∂θ)ᵀ z̄_{n+1}.

Step sizes are constants of the gradient: no controller, no error estimate and no rejected step is differentiated. It is
made of plain loops, so that forward mode over it works.

The last stage of a step is the first of the next (first same as last), and outputs inside a step depend on it. Its
cotangent is handed on to the step after, which evaluates it anyway, instead of evaluating it twice.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.adjoints.rewind import Rewinder, Span
from node_jax.adjoints.rule import Solved
from node_jax.stepping import take_step
from node_jax.stepping.costs import step_cost
from node_jax.stepping.outputs import (
    PathCotangents,
    add_cotangents,
    collect_cotangents,
    path_cotangents,
    span_length,
)
from node_jax.tree import tree_add, tree_any_nonzero, tree_read, tree_scale, tree_weighted_sum, tree_where
from node_jax.types import BoundField, State, Time


class Cotangents(NamedTuple):
    """What flows back through the steps."""

    z: State
    """Of the internal state."""
    parameters: list[Array]
    """Of the arrays that the field reads, as far as they are asked for."""
    shift: Time
    """Of a common shift of all stage times."""


class Transposer:
    """Transposes the steps of one solve.

    Arguments:
        solved: the problem and the cotangents of its outputs.
        rewinder: the way back over its steps.
    """

    def __init__(self, solved: Solved, rewinder: Rewinder) -> None:
        self.solved = solved
        self.problem = problem = solved.problem
        self.rewinder = rewinder
        reads_dense = solved.path is not None or not problem.only_ends
        # Cotangents of the outputs are collected for a whole span, unless that would outgrow the states themselves.
        self.collects_spans = reads_dense and rewinder.length <= span_length(problem)
        self.hands_on = self.collects_spans and problem.reuses_slope and not problem.costs
        self.wants_slope = bool(problem.costs) or (reads_dense and not self.hands_on)

    def run(self, z_bar: State) -> Cotangents:
        """The cotangents at the start of the solve, given that of its end."""
        zeros = jax.tree.map(jnp.zeros_like, self.solved.parameters)
        bars = Cotangents(z_bar, zeros, jnp.zeros((), self.problem.ts.dtype))
        return self.rewinder.run(bars, self._visit, self._enter)

    def _enter(self, span: Span, bars: Cotangents) -> tuple[PathCotangents | None, Cotangents]:
        """Collect the cotangents of a span's outputs, and transpose the slope at its end, which they depend on."""
        if not self.collects_spans:
            return None, bars
        collected = self._of_steps(span.times, span.begin)
        if not self.hands_on:
            return collected, bars
        i = span.end - 1 - span.begin
        t_before, t = lax.dynamic_slice_in_dim(span.times, i, 2)
        f_bar = self._slope_cotangent(t - t_before, tree_read(collected, i))

        def slope(parameters: list[Array], shift: Time, z: State) -> State:
            return self.problem.solver.slope(self._shifted(parameters, shift), t, z)

        _, pull = jax.vjp(slope, self.solved.parameters, jnp.zeros_like(t), span.z_end)
        parameters_bar, shift_bar, z_bar = pull(f_bar)
        more = tree_add(bars, Cotangents(z_bar, parameters_bar, shift_bar))
        return collected, tree_where(tree_any_nonzero(f_bar), more, bars)

    def _visit(
        self, span: Span, collected: PathCotangents | None, i: Int[Array, ""], z0: State, bars: Cotangents
    ) -> Cotangents:
        """One step back."""
        times = lax.dynamic_slice_in_dim(span.times, i, 2)
        f0_bar = None
        if collected is None:
            mine = self._of_steps(times, span.begin + i)
            mine = None if mine is None else tree_read(mine, jnp.int32(0))
        else:
            mine = tree_read(collected, i)
            if self.hands_on:
                # There is no step before the first of a span: its part of the slope waits for the span before.
                previous = jnp.maximum(i - 1, 0)
                f0_bar = self._slope_cotangent(times[0] - span.times[previous], tree_read(collected, previous))
                f0_bar = jax.tree.map(lambda leaf: jnp.where(i > 0, leaf, 0), f0_bar)
        return self._transpose_step(times[0], times[1], z0, mine, f0_bar, bars)

    def _transpose_step(
        self, t0: Time, t1: Time, z0: State, mine: PathCotangents | None, f0_bar: State | None, bars: Cotangents
    ) -> Cotangents:
        """`mine` belongs to this step's dense output, `f0_bar` to its first stage."""
        problem, solver = self.problem, self.problem.solver
        dt = t1 - t0

        def take(parameters: list[Array], shift: Time, z0: State) -> Any:
            field = self._shifted(parameters, shift)
            f0 = solver.slope(field, t0, z0) if self.hands_on else None
            step = take_step(problem, self.rewinder.stops, field, t0, t1, dt, z0, f0, with_slope=self.wants_slope)
            path = None
            if mine is not None:
                without = solver.last_stage if self.hands_on else None
                coefficients = solver.coefficients(dt, step.stages, without)
                path = PathCotangents(solver.read(z0), solver.read(step.z1), coefficients)
            costs = {name: step_cost(name, solver, dt, z0, step) for name in problem.costs}
            return step.z1, path, f0, costs

        _, pull = jax.vjp(take, self.solved.parameters, jnp.zeros_like(t0), z0)
        cotangent = (bars.z, mine, f0_bar, self.solved.costs)
        parameters_bar, shift_bar, z_bar = pull(cotangent)
        more = Cotangents(z_bar, tree_add(bars.parameters, parameters_bar), bars.shift + shift_bar)
        # Where no output depends on a step, its derivative may be infinite, and 0 times infinity must stay 0. Under
        # `jax.vmap` a step of no length is one of another lane: it changes nothing, but may take a slope's cotangent.
        is_step = tree_any_nonzero(cotangent) & (self.hands_on | (t0 != t1))
        return tree_where(is_step, more, bars)

    def _of_steps(self, times: Float[Array, " node"], first: Int[Array, ""]) -> PathCotangents | None:
        """The cotangents of the dense output of the steps between `times`, of which `first` is the first's number."""
        rows = path = None
        if not self.problem.only_ends:
            rows = collect_cotangents(self.problem, times, self.solved.rows)
        if self.solved.path is not None:
            path = path_cotangents(self.solved.path, first, times.shape[0] - 1)
        return add_cotangents(rows, path)

    def _slope_cotangent(self, dt: Time, bars: PathCotangents) -> State:
        """The cotangent of a step's last stage from those of its dense output."""
        weights = self.problem.solver.bridge[self.problem.solver.last_stage]
        total = tree_weighted_sum(weights, bars.coefficients[: len(weights)])
        return tree_scale(dt, total)

    def _shifted(self, parameters: list[Array], shift: Time) -> BoundField:
        field = self.solved.field_with(parameters)
        return lambda t, y: field(t + shift, y)
