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
from node_jax.tree import tree_buffer, tree_read, tree_slice, tree_where, tree_write
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

    def ends(self, i: Int[Array, ""]) -> tuple[Time, Time]:
        """Where step `begin` + i starts and ends."""
        return _ends(self.times, i + 1)


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
        # Before the first step comes one of no length, that stands for the step before it, and after the last may too.
        self.times = jnp.concatenate([tape.times[:1], tape.times, tape.times[-1:]])
        replays = not tape.keeps_all and not steps_back
        self.length = min(problem.max_steps, span_length(problem) if reads_dense and not replays else WINDOW)

    def run(
        self,
        carry: Carry,
        visit: Callable[[Span, Any, Int[Array, ""], State, Carry], Carry],
        enter: Callable[[Span], Any] | None = None,
        *,
        visits_end: bool = False,
    ) -> Carry:
        """Walk from the end to the start.

        Arguments:
            carry: what is handed from step to step.
            visit: `visit(span, extra, i, z0, carry)` handles step `span.begin + i`, which starts at z0.
            enter: `enter(span)` comes before the steps of a span, and returns their `extra`.
            visits_end: whether a step of no length, from the last node, is visited first.
        """

        def span_back(state: tuple[Array, State, Carry]) -> tuple[Array, State, Carry]:
            end, z_end, carry = state
            span = self._span(end, z_end)
            extra = None if enter is None else enter(span)

            def step_back(state: tuple[Array, State, Carry]) -> tuple[Array, State, Carry]:
                i, z1, carry = state[0] - 1, state[1], state[2]
                z0 = self._undo(span, i, z1) if span.states is None else tree_read(span.states, i)
                return i, z0 if span.states is None else None, visit(span, extra, i, z0, carry)

            # A state that is stored need not be handed on from step to step.
            handed = z_end if span.states is None else None
            start = (end - span.begin, handed, carry)
            _, z_begin, carry = lax.while_loop(lambda state: state[0] > 0, step_back, start)
            if span.states is not None:
                z_begin = tree_read(span.states, jnp.int32(0))
            return span.begin, z_begin, carry

        start = (self.num_nodes + visits_end, self.z_end, carry)
        return lax.while_loop(lambda state: state[0] > 0, span_back, start)[2]

    def _span(self, end: Int[Array, ""], z_end: State) -> Span:
        @one_kernel()
        def cut() -> tuple[Int[Array, ""], Float[Array, " node"]]:
            begin = jnp.maximum(end - self.length, 0)
            return begin, tree_slice(self.times, begin, self.length + 2)

        begin, times = cut()
        if self.steps_back:
            states = None
        elif self.tape.keeps_all:
            states = tree_slice(self.tape.states, begin, self.length)
        else:
            states = self._replay(begin, end)
        jumps = self.tape.is_jump
        if jumps is not None:
            jumps = tree_slice(jumps, begin, self.length)
        return Span(begin, end, times, states, z_end, jumps)

    def _replay(self, begin: Int[Array, ""], end: Int[Array, ""]) -> State:
        """The states of nodes `begin` to `end` - 1, from the last kept node at or before `begin`."""
        tape, problem = self.tape, self.problem
        start = begin // tape.stride * tape.stride

        def forward(carry: tuple[Array, State, State]) -> tuple[Array, State, State]:
            n, z, window = carry
            window = tree_write(window, jnp.where(n >= begin, n - begin, self.length), z)
            t0, t1 = _ends(self.times, n + 1)

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

    def _undo(self, span: Span, i: Int[Array, ""], z1: State) -> State:
        """The state at the start of step i of a span, from that at its end or from the tape."""
        solver, node = self.problem.solver, span.begin + i
        assert isinstance(solver, AbstractReversibleSolver)
        t0, t1 = span.ends(i)
        field = inside(self.problem, self.stops, self.problem.field, t0, t1)
        return lax.cond(
            self.tape.is_kept(node),
            lambda _: self.tape.state(node),
            lambda z1: _unless_empty(t0, t1, solver.step_back(field, t1, t1 - t0, z1, None)[0], z1),
            z1,
        )


def _ends(times: Float[Array, " node"], i: Int[Array, ""]) -> tuple[Time, Time]:
    """Node i and the next, or twice node i if it is the last."""
    t0, t1 = tree_slice(times, i, 2)
    return t0, jnp.where(jnp.isfinite(t1), t1, t0)


def _unless_empty(t0: Time, t1: Time, after: State, before: State) -> State:
    """`after` a step, or `before` it where it has no length: under `jax.vmap` it is one of another lane then."""
    return tree_where(t0 != t1, after, before)
