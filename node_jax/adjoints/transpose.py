r"""The transpose of one step, applied from the last to the first.

    z̄_n = (∂z_{n+1}/∂z_n)ᵀ z̄_{n+1} + contributions of the outputs read inside step n,
    θ̄ += (∂z_{n+1}/∂θ)ᵀ z̄_{n+1}.

Step sizes are constants of the gradient: no controller, no error estimate and no rejected step is differentiated. It is
made of plain loops, so that forward mode over it works.

The last stage of a step is the first of the next (first same as last), and outputs inside a step depend on it. Its
cotangent is handed on to the step after, which evaluates it anyway, instead of evaluating it twice. That of the last
step goes to a step of no length that is visited first: a program of its own for it would take longer to compile.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from node_jax.adjoints.discrete import DenseBars, cotangent_at_end, last_nonzero, last_read, slope_cotangent
from node_jax.adjoints.rewind import Rewinder, Span, Visit
from node_jax.adjoints.rule import Solved
from node_jax.kernels import in_memory, one_kernel
from node_jax.stepping import take_step
from node_jax.stepping.costs import step_cost
from node_jax.stepping.happenings import jump_instead
from node_jax.stepping.outputs import collect_cotangents, path_cotangents, span_length
from node_jax.tree import tree_add, tree_read, tree_where, tree_zeros
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
        self.reads_dense = solved.path is not None or not problem.only_ends
        # Cotangents of the outputs are collected for a whole span, unless that would outgrow the states themselves.
        self.collects_spans = self.reads_dense and rewinder.length <= span_length(problem)
        self.hands_on = self.collects_spans and problem.reuses_slope and not problem.costs
        self.wants_slope = bool(problem.costs) or (self.reads_dense and not self.hands_on)
        self.last_read = last_read(problem, solved.rows, solved.costs)
        if solved.path is not None:
            times = rewinder.tape.times * problem.direction
            nodes = jax.tree.map(lambda leaf: leaf[: times.shape[0]], solved.path.nodes)
            self.last_read = jnp.maximum(self.last_read, last_nonzero(times, nodes))

    def run(self) -> Cotangents:
        """The cotangents at the start of the solve."""
        problem, rewinder = self.problem, self.rewinder

        @one_kernel()
        def start() -> tuple[Cotangents, Any]:
            z_bar = cotangent_at_end(problem, self.solved.rows, rewinder.z_end)
            bars = Cotangents(z_bar, tree_zeros(self.solved.parameters), jnp.zeros((), problem.ts.dtype))
            return bars, rewinder.end(visits_end=self.hands_on)

        bars, end = start()
        enter = self._collect_in if self.collects_spans else None
        return rewinder.run(end, bars, self._visit, enter)

    def _visit(self, span: Span, collected: State | None, here: Visit, z0: State, bars: Cotangents) -> Cotangents:
        """One step back."""
        mine = f0_bar = None
        if collected is not None:
            mine = tree_read(collected, here.i + 1)
            if self.hands_on:
                f0_bar = slope_cotangent(self.problem.solver, here.t0 - here.before, tree_read(collected, here.i))
        elif self.reads_dense:
            ends = jnp.stack([here.t0, here.t1])
            mine = jax.tree.map(lambda leaf: leaf[0], self._collect(ends, span.begin + here.i))
        # Under `jax.vmap` a step of no length is one of another lane: it changes nothing, but may take a slope's
        # cotangent.
        is_step = self._matters(here.before if self.hands_on else here.t0)
        is_jump = span.is_jump(here.i)
        if not self.hands_on:
            has_length = here.t0 != here.t1
            is_step &= has_length if is_jump is None else has_length | is_jump
        return tree_where(is_step, self._transpose_step(here, z0, is_jump, mine, f0_bar, bars), bars)

    def _transpose_step(
        self,
        here: Visit,
        z0: State,
        is_jump: Bool[Array, ""] | None,
        mine: State | None,
        f0_bar: State | None,
        bars: Cotangents,
    ) -> Cotangents:
        """`mine` belongs to the parts of this step's dense output, `f0_bar` to its first stage."""
        problem, solver = self.problem, self.problem.solver
        t0, t1, dt = here.t0, here.t1, here.dt
        without = solver.last_stage if self.hands_on else None
        dense_bars = None if mine is None else DenseBars.of(solver, dt, mine, without)

        def take(parameters: list[Array], shift: Time, z0: State) -> Any:
            field = self._shifted(parameters, shift)
            # In memory, as in the solve: then the kernels of the stages are the same as there.
            f0 = in_memory(solver.slope(field, t0, z0)) if self.hands_on else None
            step = take_step(problem, self.rewinder.stops, field, t0, t1, dt, z0, f0, with_slope=self.wants_slope)
            dense = None if dense_bars is None else dense_bars.read(solver, z0, step)
            costs = {name: step_cost(name, solver, dt, z0, step) for name in problem.costs}
            z1 = step.z1
            if is_jump is not None:
                plain, jumps = self.solved.dynamics_with(parameters)
                assert jumps is not None
                z1 = jump_instead(problem, plain, jumps, is_jump, t0 + shift, z0, z1, None)[0]
            return z1, dense, f0, costs

        _, pull = jax.vjp(take, self.solved.parameters, jnp.zeros_like(t0), z0)
        cotangent = (bars.z, dense_bars, f0_bar, self.solved.costs)
        parameters_bar, shift_bar, z_bar = pull(cotangent)
        return Cotangents(z_bar, tree_add(bars.parameters, parameters_bar), bars.shift + shift_bar)

    def _matters(self, t0: Time) -> Bool[Array, ""]:
        """Whether anything after t0 is read."""
        return t0 * self.problem.direction < self.last_read

    def _collect_in(self, span: Span) -> State:
        """The cotangents of a span's outputs, and of those in the step before it."""
        return self._collect(span.times, span.begin - 1)

    def _collect(self, times: Float[Array, " node"], first: Int[Array, ""]) -> State:
        """The cotangents of the dense output of the steps between `times`, of which `first` is the first's number."""
        path = rows = None
        if self.solved.path is not None:
            path = path_cotangents(self.solved.path, first, times.shape[0] - 1)
        if not self.problem.only_ends:
            rows = collect_cotangents(self.problem, times, self.solved.rows)
        if path is None or rows is None:
            return rows if path is None else path
        return tree_add(path, rows)

    def _shifted(self, parameters: list[Array], shift: Time) -> BoundField:
        field = self.solved.field_with(parameters)
        return lambda t, y: field(tree_add(t, shift), y)
