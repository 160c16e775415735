r"""The discrete adjoint of a batched solve: its chunks of steps transposed from the last to the first.

Each step is a map (z_n, f_n) -> (z_{n+1}, f_{n+1}) of the internal state and the slope that the next step starts with,
and is transposed as such, in all lanes at once:

    (z̄_n, f̄_n) = (∂(z_{n+1}, f_{n+1})/∂(z_n, f_n))ᵀ (z̄_{n+1}, f̄_{n+1}) + contributions of the outputs inside step n.

What the trajectories share is not mapped over lanes, so that its gradient is summed within the transpose of a step and
there is never one for each lane.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.adjoints.discrete import cotangent_at_end, cotangent_of_start, cotangent_of_times
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.stepping import Batch, LaneTape, LoopResult, Problem, integrate_lanes, take_step
from node_jax.stepping.batch import add_rows, put_rows, take_rows, where_lane
from node_jax.stepping.batching import any_over_batch
from node_jax.stepping.costs import step_cost
from node_jax.stepping.outputs import add_to_last_row, collect_cotangents, num_distinct_rows, window_length
from node_jax.tree import expand_like, tree_add, tree_any_nonzero, tree_read, tree_where, tree_write, tree_zeros
from node_jax.types import BoundField, State


def solve_lanes(batch: Batch, num_lanes: int, max_rows: int) -> LoopResult:
    """A batched loop with the gradient rule of the way back over its tape."""

    def with_problem(problem: Problem) -> Batch:
        return Batch(problem, batch.is_mapped, batch.size)

    def run(problem: Problem, wants_times: bool | None) -> tuple[LoopResult, Any]:
        if wants_times is None:
            return integrate_lanes(with_problem(problem), num_lanes, max_rows)[0], None
        result, tapes, slopes = integrate_lanes(
            with_problem(problem), num_lanes, max_rows, with_tape=True, with_slopes=wants_times
        )
        return result, (tapes, result.z_end, slopes)

    def pull_back(solved: Solved) -> Gradient:
        return _Transposer(solved, with_problem(solved.problem), num_lanes).run()

    return solve_with_rule(batch.problem, run, pull_back)


class _Bars(NamedTuple):
    """Cotangents that flow back along a trajectory; leaves have a leading axis of trajectories or lanes."""

    z: State
    f: State | None
    shift: Float[Array, " lane"]
    """Of a common shift of all stage times."""


class _Carry(NamedTuple):
    chunk: Int[Array, ""]
    bars: _Bars
    shared: list[Array]
    own: list[Array]
    """Of the parameters that each trajectory has for itself."""


class _Transposer:
    """Transposes the attempts of one batched solve.

    Arguments:
        solved: the problem of all trajectories and the cotangents of their outputs.
        batch: the same problem as a batch.
        num_lanes: how many trajectories were stepped at once.
    """

    def __init__(self, solved: Solved, batch: Batch, num_lanes: int) -> None:
        self.solved, self.batch = solved, batch
        self.frame = batch.frame
        self.has_queue = num_lanes < batch.size
        self.is_own = [batch.is_mapped[place] for place in solved.places]
        # The first of the batch's rows belong to the field.
        num_field_leaves = len(jax.tree.leaves(batch.problem.field))
        self.num_field_rows = sum(batch.is_mapped[:num_field_leaves])
        self.rows_bar = solved.rows
        if not self.frame.only_ends:
            self.rows_bar = batch.map(add_to_last_row, batch.rows(), solved.rows)

    def run(self) -> Gradient:
        """The gradient of everything that the solves depend on."""
        solved, batch, frame = self.solved, self.batch, self.frame
        tapes, z_end, slopes = solved.record
        z_bar = batch.map(cotangent_at_end, batch.rows(), solved.rows, z_end)
        f_bar = jax.tree.map(lambda f: jnp.zeros((batch.size, *f.shape[3:]), f.dtype), tapes[0].states[1])
        bars = _Bars(z_bar, f_bar, jnp.zeros((batch.size,), frame.ts.dtype))
        shared, own = self._split(jax.tree.map(jnp.zeros_like, solved.parameters))
        carry = _Carry(jnp.zeros((), jnp.int32), bars, shared, own)
        for tape in reversed(tapes):
            carry = lax.while_loop(
                lambda carry: any_over_batch(carry.chunk > 0),
                lambda carry, tape=tape: self._chunk_back(tape, carry),
                carry._replace(chunk=tape.num_chunks),
            )

        bars, shared, own = self._leave_start(carry)
        y0_bar = batch.map(cotangent_of_start, batch.rows(), solved.rows, bars.z)
        ts_bar = None
        if solved.wants_times:
            ts_bar = batch.map(cotangent_of_times, batch.rows(), solved.rows, slopes, z_end, bars.shift)
        return self._gradient(y0_bar, ts_bar, shared, own)

    def _gradient(self, y0_bar: State, ts_bar: Array | None, shared: list[Array], own: list[Array]) -> Gradient:
        """Sum over trajectories what they share."""
        is_mapped = jax.tree.unflatten(jax.tree.structure(self.batch.problem), self.batch.is_mapped)

        def collect(bar: Array, has_own: bool) -> Array:
            return bar if has_own else jnp.sum(bar, axis=0)

        y0_bar = jax.tree.map(collect, y0_bar, is_mapped.y0)
        ts_bar = None if ts_bar is None else collect(ts_bar, is_mapped.ts)
        remaining = {True: iter(own), False: iter(shared)}
        return Gradient(y0_bar, [next(remaining[is_own]) for is_own in self.is_own], ts_bar)

    def _split(self, parameters: list[Array]) -> tuple[list[Array], list[Array]]:
        """Shared ones, and those that each trajectory has for itself."""
        pairs = list(zip(parameters, self.is_own, strict=True))
        return [leaf for leaf, is_own in pairs if not is_own], [leaf for leaf, is_own in pairs if is_own]

    def _field(self, problem: Problem, shared: list[Array], own: list[Array], shift: Array) -> BoundField:
        """The field of one trajectory with these parameters, `shift` later."""
        leaves, treedef = jax.tree.flatten(problem.field)
        remaining = {True: iter(own), False: iter(shared)}
        for place, is_own in zip(self.solved.places, self.is_own, strict=True):
            leaves[place] = next(remaining[is_own])
        field = jax.tree.unflatten(treedef, leaves)
        return lambda t, y: field(t + shift, y)

    def _own_of(self, problem_rows: list[Array]) -> list[Array]:
        """The parameters of their own of the trajectories that `problem_rows` belong to."""
        leaves = jax.tree.leaves(self.batch.problem_of(problem_rows).field)
        return [leaves[place] for place, is_own in zip(self.solved.places, self.is_own, strict=True) if is_own]

    def _chunk_back(self, tape: LaneTape, carry: _Carry) -> _Carry:
        batch, frame = self.batch, self.frame
        chunk = carry.chunk - 1
        index, times, num_attempts = tree_read((tape.index, tape.times, tape.num_attempts), chunk)
        problem_rows, bars, rows_bar, costs_bar = batch.rows(), carry.bars, self.rows_bar, self.solved.costs
        if self.has_queue:
            problem_rows = batch.rows(index)
            bars, rows_bar, costs_bar = take_rows((bars, rows_bar, costs_bar), index)
        stops = batch.map(Problem.stops, problem_rows)
        states = tree_read(tape.states, chunk)
        if not tape.keeps_all:
            states = self._replay(problem_rows, stops, times, num_attempts, states)
        collected = None
        if not frame.only_ends:
            collected = batch.map(_collect, problem_rows, times, rows_bar, in_axes=(1, 0))

        def step_back(state: tuple[Array, _Bars, list[Array], list[Array]]) -> Any:
            i, bars, shared, own = state
            i = i - 1
            mine = None if collected is None else jax.tree.map(lambda leaf: jnp.take(leaf, i, axis=1), collected)
            ends = (tree_read(times, i), tree_read(times, i + 1))
            bars, shared_bar, own_bar = self._transpose_step(
                problem_rows, stops, ends, tree_read(states, i), bars, mine, costs_bar
            )
            return i, bars, tree_add(shared, shared_bar), tree_add(own, own_bar)

        own_bars = [jnp.zeros_like(leaf) for leaf in self._own_of(problem_rows)]
        start = (num_attempts, bars, carry.shared, own_bars)
        _, bars, shared, own_bars = lax.while_loop(lambda state: any_over_batch(state[0] > 0), step_back, start)
        if self.has_queue:
            bars = put_rows(carry.bars, index, bars)
            own = add_rows(carry.own, index, own_bars)
        else:
            own = tree_add(carry.own, own_bars)
        return _Carry(chunk, bars, shared, own)

    def _replay(
        self, problem_rows: list[Array], stops: Array | None, times: Array, num_attempts: Array, first: Any
    ) -> tuple[State, State | None]:
        """The states before each attempt of a chunk, from those before the first."""
        first = jax.tree.map(lambda leaf: leaf[0], first)
        length = times.shape[0] - 1

        def step(problem: Problem, stops: Array | None, t0: Array, t1: Array, z: State, f: State | None) -> Any:
            taken = take_step(problem, stops, problem.field, t0, t1, t1 - t0, z, f, dense=False)
            after = (taken.z1, taken.f1 if problem.reuses_slope else None)
            return jax.tree.map(lambda new, old: jnp.where(t1 == t0, old, new), after, (z, f))

        def forward(state: Any) -> Any:
            i, now, window = state
            ends = (tree_read(times, i), tree_read(times, i + 1))
            return i + 1, self.batch.map(step, problem_rows, stops, *ends, *now), tree_write(window, i, now)

        window = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), first)
        start = (jnp.zeros((), jnp.int32), first, window)
        return lax.while_loop(lambda state: any_over_batch(state[0] < num_attempts), forward, start)[2]

    def _transpose_step(
        self,
        problem_rows: list[Array],
        stops: Array | None,
        ends: tuple[Array, Array],
        state: tuple[State, State | None],
        bars: _Bars,
        mine: State | None,
        costs_bar: dict[str, Array],
    ) -> tuple[_Bars, list[Array], list[Array]]:
        """One attempt of all lanes; what it adds to the cotangents of shared and own parameters."""
        t0, t1 = ends
        solver = self.frame.solver
        cotangent = (bars.z, bars.f, mine, costs_bar)
        is_active = (t1 != t0) & jax.vmap(tree_any_nonzero)(cotangent)
        cotangent = _zero_unless(is_active, cotangent)
        # A lane without a step must not bring in NaN, whatever its state is: it repeats an active one with cotangent 0.
        t0, t1, state, stops = _lend(is_active, (t0, t1, state, stops))
        problem_rows = [*_lend(is_active, problem_rows[: self.num_field_rows]), *problem_rows[self.num_field_rows :]]

        def take(shared: list[Array], own: list[Array], shift: Array, state: Any) -> Any:
            def one(problem: Problem, stops: Any, t0: Array, t1: Array, own: list[Array], shift: Array, z: Any, f: Any):
                field = self._field(problem, shared, own, shift)
                dt = t1 - t0
                reads_last = problem.reuses_slope or mine is not None or bool(problem.costs)
                step = take_step(problem, stops, field, t0, t1, dt, z, f, with_slope=reads_last)
                path = None
                if mine is not None:
                    parts = (solver.read(z), solver.read(step.z1), *solver.coefficients(dt, step.stages))
                    path = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
                costs = {name: step_cost(name, solver, dt, z, step) for name in problem.costs}
                return step.z1, step.f1 if problem.reuses_slope else None, path, costs

            return self.batch.map(one, problem_rows, stops, t0, t1, own, shift, *state)

        parameters = self._split(self.solved.parameters)[0], self._own_of(problem_rows)
        _, pull = jax.vjp(take, *parameters, jnp.zeros_like(t0), state)
        shared_bar, own_bar, shift_bar, state_bar = pull(cotangent)
        shared_bar = tree_where(jnp.any(is_active), shared_bar, tree_zeros(shared_bar))
        z_bar, f_bar, own_bar = where_lane(is_active, (*state_bar, own_bar), (bars.z, bars.f, tree_zeros(own_bar)))
        shift = bars.shift + jnp.where(is_active, shift_bar, 0)
        return _Bars(z_bar, f_bar, shift), shared_bar, own_bar

    def _leave_start(self, end: _Carry) -> tuple[_Bars, list[Array], list[Array]]:
        """Transpose the slopes that the trajectories start with."""
        bars, shared, own = end.bars, end.shared, end.own
        if bars.f is None:
            return bars, shared, own
        is_active = jax.vmap(tree_any_nonzero)(bars.f)
        f_bar = _zero_unless(is_active, bars.f)
        problem_rows = _lend(is_active, self.batch.rows())

        def slopes(shared: list[Array], own: list[Array], shift: Array, z: State) -> State:
            def slope(problem: Problem, own: list[Array], shift: Array, z: State) -> State:
                return problem.solver.slope(self._field(problem, shared, own, shift), problem.ts[0], z)

            return self.batch.map(slope, problem_rows, own, shift, z)

        z0 = self.batch.map(lambda problem: problem.solver.start(problem.y0), problem_rows)
        parameters = self._split(self.solved.parameters)[0], self._own_of(problem_rows)
        _, pull = jax.vjp(slopes, *parameters, jnp.zeros_like(bars.shift), z0)
        shared_bar, own_bar, shift_bar, z_bar = pull(f_bar)
        shared_bar = tree_where(jnp.any(is_active), shared_bar, tree_zeros(shared_bar))
        own_bar, shift_bar, z_bar = _zero_unless(is_active, (own_bar, shift_bar, z_bar))
        bars = _Bars(tree_add(bars.z, z_bar), bars.f, bars.shift + shift_bar)
        return bars, tree_add(shared, shared_bar), tree_add(own, own_bar)


def _collect(problem: Problem, times: Array, rows: State) -> State:
    return collect_cotangents(problem, times, rows, num_distinct_rows(problem), window=window_length(problem))


def _zero_unless(mask: Bool[Array, " lane"], x: Any) -> Any:
    return where_lane(mask, x, tree_zeros(x))


def _lend(mask: Bool[Array, " lane"], x: Any) -> Any:
    """`x`, with the values of some lane in `mask` in all lanes that are not; without one, what comes of it is void."""
    lender = jnp.argmax(mask)
    return jax.tree.map(lambda leaf: jnp.where(expand_like(mask, leaf), leaf, leaf[lender]), x)
