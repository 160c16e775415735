r"""The walk from the last step of a tape to the first, and the transpose of one step.

    z̄_n = (∂z_{n+1}/∂z_n)ᵀ z̄_{n+1} + contributions of the outputs read inside step n,
    θ̄ += (∂z_{n+1}/∂θ)ᵀ z̄_{n+1}.

Step sizes are constants of the gradient: no controller, no error estimate and no rejected step is differentiated. The
walk is made of plain loops, so that forward mode over it works.

The last stage of a step is the first of the next (first same as last), and outputs inside a step depend on it. Its
cotangent is handed on to the step after, which evaluates it anyway, instead of evaluating it twice.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.adjoints.rule import Solved
from node_jax.stepping import Tape, take_step
from node_jax.stepping.costs import step_cost
from node_jax.stepping.outputs import (
    PathCotangents,
    add_cotangents,
    chunk_length,
    collect_cotangents,
    path_cotangents,
)
from node_jax.stepping.tape import WINDOW
from node_jax.tree import tree_add, tree_buffer, tree_read, tree_scale, tree_weighted_sum, tree_write
from node_jax.types import BoundField, State, Time


class Cotangents(NamedTuple):
    """What flows back through the steps."""

    z: State
    """Of the internal state."""
    parameters: list[Array]
    """Of the arrays that the field reads, as far as they are asked for."""
    shift: Time
    """Of a common shift of all stage times."""


class Walker:
    """Transposes the steps of one solve.

    Arguments:
        solved: the problem and the cotangents of its outputs.
        tape, num_nodes, z_end: the record of the solve.
    """

    def __init__(self, solved: Solved, tape: Tape, num_nodes: Int[Array, ""], z_end: State) -> None:
        self.solved = solved
        self.problem = problem = solved.problem
        self.tape = tape
        self.num_nodes = num_nodes
        self.z_end = z_end
        self.stops = problem.stops()
        self.reads_dense = solved.path is not None or not problem.only_ends
        longest = chunk_length(problem)
        self.span = min(problem.max_steps, longest if tape.keeps_all and self.reads_dense else WINDOW)
        # Cotangents of the outputs are collected for a whole span, unless that would outgrow the states themselves.
        self.collects_spans = self.reads_dense and self.span <= longest
        self.hands_on = self.collects_spans and problem.reuses_slope and not problem.costs

    def run(self, z_bar: State) -> Cotangents:
        """The cotangents at the start of the solve, given that of its end."""
        zeros = jax.tree.map(jnp.zeros_like, self.solved.parameters)
        bars = Cotangents(z_bar, zeros, jnp.zeros((), self.problem.ts.dtype))

        def back(carry: tuple[Array, State, Cotangents]) -> tuple[Array, State, Cotangents]:
            end, z_end, bars = carry
            span = self._span(end)
            if self.hands_on:
                bars = self._transpose_last_slope(span, end, z_end, bars)
            return span.begin, tree_read(span.states, jnp.int32(0)), self._walk(span, end, bars)

        return lax.while_loop(lambda carry: carry[0] > 0, back, (self.num_nodes, self.z_end, bars))[2]

    def _span(self, end: Int[Array, ""]) -> "_Span":
        """The steps before node `end`, as many as are walked at once."""
        begin = jnp.maximum(end - self.span, 0)
        if self.tape.keeps_all:
            states = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, begin, self.span), self.tape.states)
        else:
            states = self._replay(begin, end)
        times = lax.dynamic_slice_in_dim(self.tape.times, begin, self.span + 1)
        outputs = self._of_steps(times, begin) if self.collects_spans else None
        return _Span(begin, times, states, outputs)

    def _of_steps(self, times: Float[Array, " node"], first: Int[Array, ""]) -> PathCotangents | None:
        """The cotangents of the dense output of the steps between `times`, of which `first` is the first's number."""
        rows = path = None
        if not self.problem.only_ends:
            rows = collect_cotangents(self.problem, times, self.solved.rows)
        if self.solved.path is not None:
            path = path_cotangents(self.solved.path, first, times.shape[0] - 1)
        return add_cotangents(rows, path)

    def _walk(self, span: "_Span", end: Int[Array, ""], bars: Cotangents) -> Cotangents:
        """Transpose the steps of a span."""

        def back(carry: tuple[Array, Cotangents]) -> tuple[Array, Cotangents]:
            i, bars = carry[0] - 1, carry[1]
            times = lax.dynamic_slice_in_dim(span.times, i, 2)
            before = None
            if span.outputs is not None:
                mine = tree_read(span.outputs, i)
                if self.hands_on:
                    # There is no step before the first of a span: its part of the slope waits for the span before.
                    previous = jnp.maximum(i - 1, 0)
                    bar = self._slope_cotangent(times[0] - span.times[previous], tree_read(span.outputs, previous))
                    before = jax.tree.map(lambda leaf: jnp.where(i > 0, leaf, 0), bar)
            else:
                mine = self._of_steps(times, span.begin + i)
                mine = None if mine is None else tree_read(mine, jnp.int32(0))
            return i, self._transpose_step(times[0], times[1], tree_read(span.states, i), mine, before, bars)

        return lax.while_loop(lambda carry: carry[0] > 0, back, (end - span.begin, bars))[1]

    def _transpose_step(
        self, t0: Time, t1: Time, z0: State, mine: PathCotangents | None, f0_bar: State | None, bars: Cotangents
    ) -> Cotangents:
        """One step back: `mine` belongs to this step's dense output, `f0_bar` to its first stage."""
        problem, solver = self.problem, self.problem.solver
        dt = t1 - t0

        def take(parameters: list[Array], shift: Time, z0: State) -> Any:
            field = self._shifted(parameters, shift)
            f0 = solver.slope(field, t0, z0) if self.hands_on else None
            step = take_step(problem, self.stops, field, t0, t1, dt, z0, f0)
            path = None
            if mine is not None:
                without = solver.last_stage if self.hands_on else None
                coefficients = solver.coefficients(dt, step.stages, without)
                path = PathCotangents(solver.read(z0), solver.read(step.z1), coefficients)
            costs = {name: step_cost(name, solver, dt, z0, step) for name in problem.costs}
            return step.z1, path, f0, costs

        _, pull = jax.vjp(take, self.solved.parameters, jnp.zeros_like(t0), z0)
        parameters_bar, shift_bar, z_bar = pull((bars.z, mine, f0_bar, self.solved.costs))
        return Cotangents(z_bar, tree_add(bars.parameters, parameters_bar), bars.shift + shift_bar)

    def _transpose_last_slope(self, span: "_Span", node: Int[Array, ""], z: State, bars: Cotangents) -> Cotangents:
        """The part of a span's last step that depends on the slope at its end."""
        i = node - 1 - span.begin
        t_before, t = lax.dynamic_slice_in_dim(span.times, i, 2)
        f_bar = self._slope_cotangent(t - t_before, tree_read(span.outputs, i))

        def slope(parameters: list[Array], shift: Time, z: State) -> State:
            return self.problem.solver.slope(self._shifted(parameters, shift), t, z)

        _, pull = jax.vjp(slope, self.solved.parameters, jnp.zeros_like(t), z)
        parameters_bar, shift_bar, z_bar = pull(f_bar)
        return tree_add(bars, Cotangents(z_bar, parameters_bar, shift_bar))

    def _slope_cotangent(self, dt: Time, bars: PathCotangents) -> State:
        """The cotangent of a step's last stage from those of its dense output."""
        weights = self.problem.solver.bridge[self.problem.solver.last_stage]
        total = tree_weighted_sum(weights, bars.coefficients[: len(weights)])
        return tree_scale(dt, total)

    def _shifted(self, parameters: list[Array], shift: Time) -> BoundField:
        field = self.solved.field_with(parameters)
        return lambda t, y: field(t + shift, y)

    def _replay(self, begin: Int[Array, ""], end: Int[Array, ""]) -> State:
        """The states of nodes `begin` to `end` - 1, from the last kept node at or before `begin`."""
        tape, problem = self.tape, self.problem
        start = begin // tape.stride * tape.stride
        field = self.solved.field_with(self.solved.parameters)

        def forward(carry: tuple[Array, State, State]) -> tuple[Array, State, State]:
            n, z, window = carry
            window = tree_write(window, jnp.where(n >= begin, n - begin, self.span), z)
            t0, t1 = tape.step(n)

            def step(z: State) -> State:
                return take_step(problem, self.stops, field, t0, t1, t1 - t0, z).z1

            z = lax.cond(tape.is_kept(n + 1), lambda _: tape.state(n + 1), step, z)
            return n + 1, z, window

        first = (start, tape.state(start), tree_buffer(self.span + 1, self.z_end))
        return lax.while_loop(lambda carry: carry[0] < end, forward, first)[2]


class _Span(NamedTuple):
    """Consecutive steps that are walked at once. What they need is cut out of the tape: a loop that carries little is
    compiled into one function on a CPU.
    """

    begin: Int[Array, ""]
    times: Float[Array, " node"]
    states: State
    outputs: PathCotangents | None
