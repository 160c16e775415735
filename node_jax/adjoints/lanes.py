r"""The discrete adjoint of a batched solve: its chunks of steps transposed from the last to the first.

Each step is a map (z_n, f_n) -> (z_{n+1}, f_{n+1}) of the internal state and the slope that the next step starts with,
and is transposed as such, in all lanes at once:

    (z̄_n, f̄_n) = (∂(z_{n+1}, f_{n+1})/∂(z_n, f_n))ᵀ (z̄_{n+1}, f̄_{n+1}) + contributions of the outputs inside step n.

Where nothing but the next step reads f_{n+1}, it is a map of z alone, and evaluates f_n instead.

What the trajectories share is not mapped over lanes, so that its gradient is summed within the transpose of a step and
there is never one for each lane. Paths that are control inputs are not differentiated as whole arrays either; see
`node_jax.adjoints.controls`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.adjoints.controls import ControlTables, Tables, calls_of_step
from node_jax.adjoints.deferred import Deferral, Evaluations, probed
from node_jax.adjoints.discrete import (
    DenseBars,
    cotangent_at_end,
    cotangent_of_start,
    cotangent_of_times,
    last_read,
)
from node_jax.adjoints.lane_parameters import Parameters, ParameterSplit
from node_jax.adjoints.lane_replay import LaneReplay, ends_of, stops_among
from node_jax.adjoints.products import pull_fast
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.backend import on_gpu
from node_jax.solvers import ExplicitRungeKutta
from node_jax.stepping import Batch, LaneTape, LoopResult, Problem, integrate_lanes, take_step
from node_jax.stepping.batch import add_rows, lend, put_rows, take_rows, where_lane
from node_jax.stepping.batching import any_over_batch, repeat
from node_jax.stepping.costs import step_cost
from node_jax.stepping.outputs import add_to_last_row, collect_cotangents, window_length
from node_jax.tree import tree_add, tree_any_nonzero, tree_read, tree_where, tree_write, tree_zeros
from node_jax.types import State


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
    parameters: Parameters
    controls: dict[int, Array]
    """Of the paths that are read from tables, by place among the leaves of the field."""


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
        self.replay = LaneReplay(batch, has_queue=self.has_queue)
        # The last stage is read as the first of the next step, by dense output, or by a cost.
        self.reads_last = self.frame.records_slope or not self.frame.only_ends or bool(self.frame.costs)
        self.controls = ControlTables(solved, batch, with_slope=self.reads_last)
        places = [place for place in solved.places if place not in self.controls.only_tabulated]
        self.split = ParameterSplit(batch, places)
        self.deferral = self._deferral(solved.record[0][0])
        self.rows_bar = solved.rows
        if batch.mapped.ts and not self.frame.only_ends:
            self.rows_bar = batch.map(add_to_last_row, batch.rows(), solved.rows)

    def _deferral(self, tape: LaneTape) -> Deferral | None:
        """How the gradient for parameters is deferred; `None` where that is not possible, or not worth it."""
        frame = self.frame
        if not (on_gpu() and self.split.places and type(frame.solver) is ExplicitRungeKutta):
            return None
        # Nothing but calls of the field may depend on parameters, and each must be a call of its own.
        if self.controls.nodes or frame.jumps is not None or frame.costs or frame.chooses_dense:
            return None
        calls = calls_of_step(frame, self.reads_last)
        deferral = Deferral(self.batch, self.split, len(calls or ()))
        return deferral if calls and deferral.fits(tape.length, tape.num_lanes) else None

    def run(self) -> Gradient:
        """The gradient of everything that the solves depend on."""
        solved, batch, frame = self.solved, self.batch, self.frame
        tapes, z_end, slopes = solved.record
        self.last_read = batch.map(last_read, batch.rows(), solved.rows, solved.costs)
        z_bar = batch.map(cotangent_at_end, batch.rows(), solved.rows, z_end)
        # Slopes are like states, in axes behind those of the tape.
        axes = 3 if tapes[0].keeps_all else 2
        f_bar = jax.tree.map(lambda f: jnp.zeros((batch.size, *f.shape[axes:]), f.dtype), tapes[0].states[1])
        bars = _Bars(z_bar, f_bar, jnp.zeros((batch.size,), frame.ts.dtype))
        zeros = dict(zip(solved.places, jax.tree.map(jnp.zeros_like, solved.parameters), strict=True))
        controls = {place: zeros[place] for place in self.controls.wanted}
        carry = _Carry(jnp.zeros((), jnp.int32), bars, self.split.split(zeros), controls)
        for tape in reversed(tapes):
            carry = lax.while_loop(
                lambda carry: any_over_batch(carry.chunk > 0),
                lambda carry, tape=tape: self._chunk_back(tape, carry),
                carry._replace(chunk=tape.num_chunks),
            )

        end = self._leave_start(carry)
        y0_bar = batch.map(cotangent_of_start, batch.rows(), solved.rows, end.bars.z)
        ts_bar = None
        if solved.wants_times:
            ts_bar = batch.map(cotangent_of_times, batch.rows(), solved.rows, slopes, z_end, end.bars.shift)
        return self._gradient(y0_bar, ts_bar, end)

    def _gradient(self, y0_bar: State, ts_bar: Array | None, end: _Carry) -> Gradient:
        """Sum over trajectories what they share."""
        mapped = self.batch.mapped

        def collect(bar: Array, has_own: bool) -> Array:
            return bar if has_own else jnp.sum(bar, axis=0)

        y0_bar = jax.tree.map(collect, y0_bar, mapped.y0)
        ts_bar = None if ts_bar is None else collect(ts_bar, mapped.ts)
        found = dict(end.controls)
        for place, bar in self.split.by_place(end.parameters).items():
            found[place] = found[place] + bar if place in found else bar
        return Gradient(y0_bar, [found[place] for place in self.solved.places], ts_bar)

    def _chunk_back(self, tape: LaneTape, carry: _Carry) -> _Carry:
        batch, frame = self.batch, self.frame
        chunk = carry.chunk - 1
        index, times, num_attempts = tree_read((tape.index, tape.times, tape.num_attempts), chunk)
        is_jump = tree_read(tape.is_jump, chunk)
        problem_rows, bars, rows_bar, costs_bar = batch.rows(), carry.bars, self.rows_bar, self.solved.costs
        read_until = self.last_read
        if self.has_queue:
            problem_rows = batch.rows(index)
            bars, rows_bar, costs_bar, read_until = take_rows((bars, rows_bar, costs_bar, read_until), index)
        # An attempt that was rejected, or of a lane that was idle, has no length.
        is_step = times[1:] != times[:-1] if is_jump is None else (times[1:] != times[:-1]) | is_jump
        is_active = is_step & (times[:-1] * batch.map(lambda problem: problem.direction, problem_rows) < read_until)
        trajectory = index if self.has_queue else jnp.arange(batch.size, dtype=jnp.int32)
        stops = stops_among(batch.map(Problem.stops, problem_rows), times)
        states = tree_read(tape.states, chunk) if tape.keeps_all else self.replay.states(tape, chunk)
        collected = None
        if not frame.only_ends:
            collected = batch.map(self._collect, problem_rows, times, rows_bar, in_axes=(1, 0))

        def step_back(state: tuple[Array, _Carry, Evaluations | None]) -> tuple[Array, _Carry, Evaluations | None]:
            i, here, evaluations = state[0] - 1, state[1], state[2]
            mine = None if collected is None else jax.tree.map(lambda leaf: jnp.take(leaf, i, axis=1), collected)
            ends, taken = (*ends_of(times, stops, i), tree_read(is_jump, i)), tree_read(states, i)
            which = (problem_rows, trajectory, tree_read(is_active, i))
            here, found = self._transpose_step(*which, ends, taken, here, mine, costs_bar)
            return i, here, tree_write(evaluations, i, found)

        own = tree_zeros(self.split.of(problem_rows).own)
        here = _Carry(chunk, bars, carry.parameters._replace(own=own), carry.controls)
        room = None if self.deferral is None else self.deferral.room(tape.length, len(trajectory))
        start = (num_attempts, here, room)
        _, end, evaluations = repeat(lambda state: state[0] > 0, step_back, start, tape.length)
        if self.deferral is not None:
            is_used = jnp.any(is_active, axis=0)
            found = self.deferral.gradient(self._lend_rows(is_used, problem_rows), evaluations, is_active)
            end = self._add_parameters(end, is_used, found)
        before, own = carry.parameters.own, end.parameters.own
        own = add_rows(before, index, own) if self.has_queue else tree_add(before, own)
        bars = put_rows(carry.bars, index, end.bars) if self.has_queue else end.bars
        return end._replace(bars=bars, parameters=end.parameters._replace(own=own))

    def _collect(self, problem: Problem, times: Array, rows: State) -> State:
        """The cotangents of the dense output of one lane's attempts."""
        num_rows = self.batch.num_rows_of(problem)
        return collect_cotangents(problem, times, rows, num_rows, window=window_length(problem))

    def _transpose_step(
        self,
        problem_rows: list[Array],
        trajectory: Int[Array, " lane"],
        is_active: Bool[Array, " lane"],
        ends: tuple[Array, Array, Array | None, Array | None],
        state: tuple[State, State | None],
        carry: _Carry,
        mine: State | None,
        costs_bar: dict[str, Array],
    ) -> tuple[_Carry, Evaluations | None]:
        """One attempt of all lanes, from the cotangents at its end to those at its start.

        Also the evaluations of the field, where the gradient for parameters is deferred.
        """
        bars, controls, solver = carry.bars, self.controls, self.frame.solver
        dense_bars = None
        if mine is not None:
            dense_bars = jax.vmap(lambda dt, parts: DenseBars.of(solver, dt, parts))(ends[1] - ends[0], mine)
        cotangent = (bars.z, bars.f, dense_bars, costs_bar)
        cotangent = _zero_unless(is_active, cotangent)
        # A lane without a step must not bring in NaN, whatever its state is: it repeats an active one with cotangent 0.
        ends, state = lend(is_active, (ends, state))
        tables, pull_tables = controls.tabulate(problem_rows, ends[0], ends[1], ends[2])
        tables = lend(is_active, tables)
        problem_rows = self._lend_rows(is_active, problem_rows)
        parameters = self.split.of(problem_rows)
        probes = None if self.deferral is None else self.deferral.probes(len(trajectory))

        def take(differentiated: Parameters | None, tables: Tables, shift: Array, state: Any, probes: Any) -> Any:
            given = differentiated or parameters

            def one(
                problem: Problem, ends: Any, own: list[Array], tables: Tables, shift: Array, z: Any, f: Any, probes: Any
            ) -> Any:
                t0, t1, stops, _ = ends
                dt = t1 - t0
                plain, _ = self.split.dynamics(problem, given._replace(own=own))
                field, seen = controls.bind(plain, shift, tables), None
                if probes is not None:
                    field, seen = probed(field, probes)
                step = take_step(problem, stops, field, t0, t1, dt, z, f, with_slope=self.reads_last)
                dense = None if dense_bars is None else dense_bars.read(solver, z, step)
                costs = {name: step_cost(name, solver, dt, z, step) for name in problem.costs}
                f1 = step.f1 if problem.records_slope else None
                return (step.z1, f1, dense, costs), seen and seen()

            lanes = (ends, given.own, tables, shift, *state, probes)
            (z1, f1, dense, costs), seen = self.batch.map(one, problem_rows, *lanes)
            is_jump = ends[3]
            if is_jump is not None:
                z1, f1 = self._jump_instead(problem_rows, is_jump, given, ends[0] + shift, state[0], (z1, f1))
            return (z1, f1, dense, costs), seen

        differentiated = parameters if probes is None else None
        arguments = (differentiated, tables, jnp.zeros_like(bars.shift), state, probes)
        _, pull, seen = jax.vjp(take, *arguments, has_aux=True)
        parameters_bar, tables_bar, shift_bar, state_bar, probes_bar = pull_fast(pull, cotangent)
        z_bar, f_bar = where_lane(is_active, state_bar, (bars.z, bars.f))
        carry = carry._replace(bars=_Bars(z_bar, f_bar, bars.shift))
        carry = self._add(carry, trajectory, is_active, (shift_bar, pull_tables(tables_bar)))
        if parameters_bar is not None:
            return self._add_parameters(carry, is_active, parameters_bar), None
        times, states = seen
        return carry, Evaluations(times, states, _zero_unless(is_active, probes_bar))

    def _jump_instead(
        self,
        problem_rows: list[Array],
        is_jump: Bool[Array, " lane"],
        parameters: Parameters,
        t: Float[Array, " lane"],
        z: State,
        after: tuple[State, State | None],
    ) -> tuple[State, State | None]:
        """`after` a step, or in the lanes that jump the state after the jump and the slope there.

        The others follow a lane that jumps: a jump may not be made to be differentiated anywhere else.
        """

        def jump(problem: Problem, t: Array, z: State, own: list[Array]) -> tuple[State, State | None]:
            field, jumps = self.split.dynamics(problem, parameters._replace(own=own))
            assert jumps is not None
            z1 = jumps.apply(field, t, z)
            return z1, problem.solver.slope(field, t, z1) if problem.records_slope else None

        def jumped() -> tuple[State, State | None]:
            return self.batch.map(jump, self._lend_rows(is_jump, problem_rows), *lend(is_jump, (t, z, parameters.own)))

        return where_lane(is_jump, lax.cond(any_over_batch(jnp.any(is_jump)), jumped, lambda: after), after)

    def _lend_rows(self, is_active: Bool[Array, " lane"], problem_rows: list[Array]) -> list[Array]:
        """Rows in which lanes that are not active have field and jumps of an active one, but for what comes from
        tables.
        """
        return [
            lend(is_active, rows) if is_lent else rows
            for rows, is_lent in zip(problem_rows, self.controls.rows_of_dynamics, strict=True)
        ]

    def _add(
        self, carry: _Carry, trajectory: Int[Array, " lane"], is_active: Bool[Array, " lane"], found: Any
    ) -> _Carry:
        """`carry` with the gradients of shift and tables of the active lanes added."""
        shift_bar, rows = _zero_unless(is_active, found)
        bars, total = carry.bars, self.controls.shift_of(rows)
        return carry._replace(
            bars=bars._replace(shift=bars.shift + shift_bar + total),
            controls=self.controls.add(carry.controls, trajectory, rows),
        )

    def _add_parameters(self, carry: _Carry, is_active: Bool[Array, " lane"], found: Parameters) -> _Carry:
        """`carry` with the gradients of shared and own parameters of the active lanes added."""
        shared = tree_where(jnp.any(is_active), found.shared, tree_zeros(found.shared))
        found = Parameters(shared, _zero_unless(is_active, found.own))
        return carry._replace(parameters=tree_add(carry.parameters, found))

    def _leave_start(self, carry: _Carry) -> _Carry:
        """Transpose the slopes that the trajectories start with."""
        bars, controls = carry.bars, self.controls
        if bars.f is None:
            return carry
        is_active = jax.vmap(tree_any_nonzero)(bars.f)
        f_bar = _zero_unless(is_active, bars.f)
        problem_rows = self.batch.rows()
        starts = self.batch.map(lambda problem: (problem.ts[0], problem.solver.start(problem.y0)), problem_rows)
        tables, pull_tables = controls.tabulate(problem_rows, starts[0], starts[0], None)
        problem_rows, tables, (t0, z0) = lend(is_active, (problem_rows, tables, starts))

        def slopes(parameters: Parameters, tables: Tables, shift: Array, z: State) -> State:
            def slope(problem: Problem, t0: Array, own: list[Array], tables: Tables, shift: Array, z: State) -> State:
                # Of a step without length all rows of a table are the same, and the first call may read any.
                plain, _ = self.split.dynamics(problem, parameters._replace(own=own))
                return problem.solver.slope(controls.bind(plain, shift, tables), t0, z)

            return self.batch.map(slope, problem_rows, t0, parameters.own, tables, shift, z)

        _, pull = jax.vjp(slopes, self.split.of(problem_rows), tables, jnp.zeros_like(bars.shift), z0)
        parameters_bar, tables_bar, shift_bar, z_bar = pull(f_bar)
        carry = carry._replace(bars=bars._replace(z=tree_add(bars.z, _zero_unless(is_active, z_bar))))
        trajectory = jnp.arange(self.batch.size, dtype=jnp.int32)
        carry = self._add(carry, trajectory, is_active, (shift_bar, pull_tables(tables_bar)))
        return self._add_parameters(carry, is_active, parameters_bar)


def _zero_unless(mask: Bool[Array, " lane"], x: Any) -> Any:
    return where_lane(mask, x, tree_zeros(x))
