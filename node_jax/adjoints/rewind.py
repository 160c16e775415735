"""The way back over a tape, from the last step to the first, whatever is done with each step."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.kernels import one_kernel
from node_jax.solvers import AbstractReversibleSolver
from node_jax.stepping import Problem, Tape, take_step
from node_jax.stepping.attempt import inside
from node_jax.stepping.happenings import jump_instead
from node_jax.stepping.outputs import span_length
from node_jax.stepping.tape import WINDOW
from node_jax.tree import tree_buffer, tree_bytes, tree_read, tree_slice, tree_take, tree_where, tree_write
from node_jax.types import State, Time

Carry = TypeVar("Carry")


class Span(NamedTuple):
    """Consecutive steps that are walked at once, cut out of the tape: on a CPU a loop that carries little is compiled
    into one function.
    """

    begin: Int[Array, ""]
    """Number of the first step."""
    end: Int[Array, ""]
    """Number of the step after the last."""
    times: Float[Array, " node"]
    """The start of the step before the first, then the starts of the steps and the end of the last; not finite where
    there is no node."""
    states: State | None
    """States at the starts of the steps; `None` if they are found by stepping back."""
    z_end: State
    """State at node `end`."""
    jumps: Bool[Array, " step"] | None
    """Which of the steps are jumps, if there are any."""

    def is_jump(self, i: Int[Array, ""]) -> Bool[Array, ""] | None:
        """Whether step `begin` + i is a jump of the state."""
        return None if self.jumps is None else tree_read(self.jumps, i)


class Visit(NamedTuple):
    """Where one step of a span lies."""

    i: Int[Array, ""]
    """It is step `begin` + i."""
    before: Time
    """Where the step before it starts."""
    t0: Time
    t1: Time
    dt: Time
    """Its signed length."""


class Rewinder:
    """Visits the steps of a tape in reverse.

    Where not every state was kept, the steps from one kept state to the next are taken again, `WINDOW` at a time. Of a
    reversible method they are taken back instead, from each kept state to the one before.

    Arguments:
        problem: the solved problem.
        tape, num_nodes, z_end: the record of the solve.
        reads_dense: whether visits need memory for dense output; then spans are short for a large state.
        steps_back: whether states between the kept ones are found by stepping back.
    """

    def __init__(
        self,
        problem: Problem,
        tape: Tape,
        num_nodes: Int[Array, ""],
        z_end: State,
        *,
        reads_dense: bool,
        steps_back: bool = False,
    ) -> None:
        self.problem = problem
        self.tape = tape
        self.num_nodes = num_nodes
        self.z_end = z_end
        self.steps_back = steps_back
        self.stops = problem.stops()
        replays = not tape.keeps_all and not steps_back
        self.length = min(problem.max_steps, span_length(problem) if reads_dense and not replays else WINDOW)

    def end(self, *, visits_end: bool = False) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        """Number of the step after the last, and whether there is a last.

        Arguments:
            visits_end: whether there is a step of no length from the last node.
        """
        end = self.num_nodes + visits_end
        return end, end > 0

    def run(
        self,
        end: tuple[Int[Array, ""], Bool[Array, ""]],
        carry: Carry,
        visit: Callable[[Span, Any, Visit, State, Carry], Carry],
        enter: Callable[[Span], Any] | None = None,
    ) -> Carry:
        """Walk from the end to the start.

        Arguments:
            end: where to begin; see `end`.
            carry: what is handed from step to step.
            visit: `visit(span, extra, here, z0, carry)` handles one step, which starts at z0.
            enter: `enter(span)` comes before the steps of a span, and returns their `extra`.
        """

        def span_back(state: tuple[Any, State, Carry]) -> tuple[Any, State, Carry]:
            (end, _), z_end, carry = state
            span, num_steps, is_left = self._span(end, z_end)
            extra = None if enter is None else enter(span)

            def step_back(state: tuple[Any, State, Carry]) -> tuple[Any, State, Carry]:
                z1, carry = state[1:]
                here, goes_on, z0 = self._step_before(span, state[0][0])
                if z0 is None:
                    z0 = self._undo(span, here, z1)
                return (here.i, goes_on), z0 if span.states is None else None, visit(span, extra, here, z0, carry)

            # A state that is stored need not be handed on from step to step.
            handed = z_end if span.states is None else None
            start = ((num_steps, jnp.asarray(True)), handed, carry)
            _, z_begin, carry = lax.while_loop(_goes_on, step_back, start)
            if span.states is not None:
                z_begin = tree_read(span.states, jnp.int32(0))
            return (span.begin, is_left), z_begin, carry

        return lax.while_loop(_goes_on, span_back, (end, self.z_end, carry))[2]

    def _step_before(self, span: Span, i: Int[Array, ""]) -> tuple[Visit, Bool[Array, ""], State | None]:
        """The step before step i of a span, whether the span has one before that, and the state at its start if that
        is stored.
        """

        @one_kernel(tree_bytes(self.problem.y0))
        def step_before() -> tuple[Visit, Bool[Array, ""], State | None]:
            t0, t1 = _ends(span.times, i)
            z0 = None if span.states is None else tree_read(span.states, i - 1)
            return Visit(i - 1, tree_read(span.times, i - 1), t0, t1, t1 - t0), i > 1, z0

        return step_before()

    def _span(self, end: Int[Array, ""], z_end: State) -> tuple[Span, Int[Array, ""], Bool[Array, ""]]:
        """The span that ends before step `end`, its number of steps, and whether there are steps before it."""

        @one_kernel()
        def cut() -> tuple[Int[Array, ""], Int[Array, ""], Bool[Array, ""], Float[Array, " node"]]:
            begin = jnp.maximum(end - self.length, 0)
            times = self.tape.times
            # Before the first step comes one of no length, that stands for the step before it; after the last may too.
            nodes = begin - 1 + jnp.arange(self.length + 2, dtype=jnp.int32)
            nodes = lax.clamp(jnp.int32(0), nodes, jnp.int32(times.shape[0] - 1))
            return begin, end - begin, begin > 0, tree_take(times, nodes)

        begin, num_steps, is_left, times = cut()
        if self.steps_back:
            states = None
        elif self.tape.keeps_all:
            states = tree_slice(self.tape.states, begin, self.length)
        else:
            states = self._replay(begin, end)
        jumps = self.tape.is_jump
        if jumps is not None:
            jumps = tree_slice(jumps, begin, self.length)
        return Span(begin, end, times, states, z_end, jumps), num_steps, is_left

    def _replay(self, begin: Int[Array, ""], end: Int[Array, ""]) -> State:
        """The states of nodes `begin` to `end` - 1, from the last kept node at or before `begin`."""
        tape, problem = self.tape, self.problem
        start = begin // tape.stride * tape.stride

        def forward(carry: tuple[Array, State, State]) -> tuple[Array, State, State]:
            n, z, window = carry
            window = tree_write(window, jnp.where(n >= begin, n - begin, self.length), z)
            t0, t1 = _ends(tape.times, n)

            def step(z: State) -> State:
                dt = t1 - t0
                z1 = take_step(problem, self.stops, problem.field, t0, t1, dt, z, with_slope=False).z1
                z1 = _unless_empty(t0, t1, z1, z)
                if problem.jumps is not None:
                    is_jump = tree_read(tape.is_jump, n)
                    z1 = jump_instead(problem, problem.field, problem.jumps, is_jump, t0, z, z1, None)[0]
                return z1

            z = lax.cond(tape.is_kept(n + 1), lambda _: tape.state(n + 1), step, z)
            return n + 1, z, window

        first = (start, tape.state(start), tree_buffer(self.length + 1, self.z_end))
        return lax.while_loop(lambda carry: carry[0] < end, forward, first)[2]

    def _undo(self, span: Span, here: Visit, z1: State) -> State:
        """The state at the start of a step of a span, from that at its end or from the tape."""
        solver, node, t0, t1 = self.problem.solver, span.begin + here.i, here.t0, here.t1
        assert isinstance(solver, AbstractReversibleSolver)
        field = inside(self.problem, self.stops, self.problem.field, t0, t1)
        return lax.cond(
            self.tape.is_kept(node),
            lambda _: self.tape.state(node),
            lambda z1: _unless_empty(t0, t1, solver.step_back(field, t1, here.dt, z1, None)[0], z1),
            z1,
        )


def _goes_on(state: tuple[tuple[Array, Bool[Array, ""]], Any, Any]) -> Bool[Array, ""]:
    return state[0][1]


def _ends(times: Float[Array, " node"], i: Int[Array, ""]) -> tuple[Time, Time]:
    """Node i and the next, or twice node i if it is the last."""
    t0, t1 = tree_read(times, i), tree_read(times, i + 1)
    return t0, tree_where(jnp.isfinite(t1), t1, t0)


def _unless_empty(t0: Time, t1: Time, after: State, before: State) -> State:
    """`after` a step, or `before` it where it has no length: under `jax.vmap` it is one of another lane then."""
    return tree_where(t0 != t1, after, before)
