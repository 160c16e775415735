r"""The discrete adjoint of a batched solve: its steps transposed from the last to the first, a window at a time.

Each step is a map (z_n, f_n) -> (z_{n+1}, f_{n+1}) of the internal state and the slope that the next step starts with,
and is transposed as such, in all lanes at once:

    (z̄_n, f̄_n) = (∂(z_{n+1}, f_{n+1})/∂(z_n, f_n))ᵀ (z̄_{n+1}, f̄_{n+1}) + contributions of the outputs inside step n.

Where nothing but the next step reads f_{n+1}, it is a map of z alone, and evaluates f_n instead.

What the trajectories share is not mapped over lanes, so that its gradient is summed within the transpose of a step and
there is never one for each lane. Paths that are control inputs are not differentiated as whole arrays either; see
`node_jax.adjoints.controls`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from node_jax.adjoints.active_lanes import ActiveLanes
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
from node_jax.adjoints.lane_queue import Cursor, StepQueue, Window
from node_jax.adjoints.lane_replay import LaneReplay, stops_among
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.backend import on_cpu, on_gpu
from node_jax.kernels import one_kernel
from node_jax.solvers import ExplicitRungeKutta
from node_jax.stepping import Batch, LaneTape, LoopResult, Problem, integrate_lanes, take_step
from node_jax.stepping.batch import add_rows, expected_costs, put_rows, take_rows
from node_jax.stepping.batching import any_over_batch, repeat
from node_jax.stepping.costs import step_cost
from node_jax.stepping.lane_tape import steps_among
from node_jax.stepping.outputs import add_to_last_row, collect_cotangents_by_step
from node_jax.tree import (
    tree_add,
    tree_any_nonzero,
    tree_bytes,
    tree_read,
    tree_where,
    tree_where_rows,
    tree_write,
    tree_zeros,
)
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
        return result, (tapes, result.z_end, slopes, result.stats.num_accepted)

    def pull_back(solved: Solved) -> Gradient:
        return _Transposer(solved, with_problem(solved.problem), num_lanes, max_rows).run()

    return solve_with_rule(batch.problem, run, pull_back)


class _Bars(NamedTuple):
    """Cotangents that flow back along a trajectory; leaves have a leading axis of trajectories or lanes."""

    z: State
    f: State | None
    shift: Float[Array, " lane"]
    """Of a common shift of all stage times."""


class _Carry(NamedTuple):
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
        max_rows: bound on the attempts of all lanes together.
    """

    def __init__(self, solved: Solved, batch: Batch, num_lanes: int, max_rows: int) -> None:
        self.solved, self.batch = solved, batch
        self.frame = batch.frame
        self.has_queue, self.max_rows = num_lanes < batch.size, max_rows
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
        tapes, z_end, slopes, num_accepted = solved.record
        self.last_read = batch.map(last_read, batch.rows(), solved.rows, solved.costs)
        z_bar = batch.map(cotangent_at_end, batch.rows(), solved.rows, z_end)
        # Slopes are like states, in axes behind those of the tape.
        axes = 3 if tapes[0].keeps_all else 2
        f_bar = jax.tree.map(lambda f: jnp.zeros((batch.size, *f.shape[axes:]), f.dtype), tapes[0].states[1])
        bars = _Bars(z_bar, f_bar, jnp.zeros((batch.size,), frame.ts.dtype))
        zeros = dict(zip(solved.places, jax.tree.map(jnp.zeros_like, solved.parameters), strict=True))
        controls = {place: zeros[place] for place in self.controls.wanted}
        end = self._walk(tapes, num_accepted, _Carry(bars, self.split.split(zeros), controls))
        end = self._leave_start(end)
        y0_bar = batch.map(cotangent_of_start, batch.rows(), solved.rows, end.bars.z)
        ts_bar = None
        if solved.wants_times:
            ts_bar = batch.map(cotangent_of_times, batch.rows(), solved.rows, slopes, z_end, end.bars.shift)
        return self._gradient(y0_bar, ts_bar, end)

    def _walk(self, tapes: Sequence[LaneTape], num_accepted: Int[Array, " batch"], carry: _Carry) -> _Carry:
        """All the way back."""
        keeps_all = all(tape.keeps_all for tape in tapes)
        if self.has_queue and keeps_all and on_cpu() and expected_costs(self.batch) is None:
            # Without a queue every lane makes at most `max_steps` attempts.
            bounds = [self.max_rows, *[self.frame.max_steps] * (len(tapes) - 1)]
            most_rows = sum(bound * tape.num_lanes for bound, tape in zip(bounds, tapes, strict=True))
            queue = StepQueue(tapes, num_accepted, most_rows)

            def window_back(state: tuple[Cursor, _Carry]) -> tuple[Cursor, _Carry]:
                window, cursor = queue.take(state[0])
                return cursor, self._window_back(window, state[1])

            return lax.while_loop(lambda state: queue.has_more(state[0]), window_back, (queue.start(), carry))[1]
        for tape in reversed(tapes):

            def chunk_back(state: tuple[Array, _Carry], tape: LaneTape = tape) -> tuple[Array, _Carry]:
                chunk = state[0] - 1
                return chunk, self._window_back(self._chunk(tape, chunk), state[1])

            carry = lax.while_loop(lambda state: any_over_batch(state[0] > 0), chunk_back, (tape.num_chunks, carry))[1]
        return carry

    def _chunk(self, tape: LaneTape, chunk: Int[Array, ""]) -> Window:
        """The attempts of one chunk as they were taken."""
        index, times, num_attempts = tree_read((tape.index, tape.times, tape.num_attempts), chunk)
        states = tree_read(tape.states, chunk) if tape.keeps_all else self.replay.states(tape, chunk)
        return Window(index, num_attempts, times, states, tree_read(tape.is_jump, chunk))

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

    def _window_back(self, window: Window, carry: _Carry) -> _Carry:
        """The attempts of one window, from the last to the first."""
        batch, frame = self.batch, self.frame
        index, num_attempts, times, states, is_jump = window
        problem_rows, bars, rows_bar, costs_bar = batch.rows(), carry.bars, self.rows_bar, self.solved.costs
        read_until = self.last_read
        if self.has_queue:
            problem_rows = batch.rows(index)
            bars, rows_bar, costs_bar, read_until = take_rows((bars, rows_bar, costs_bar, read_until), index)
        is_active = steps_among(times, is_jump) & (
            times[:-1] * batch.map(lambda problem: problem.direction, problem_rows) < read_until
        )
        trajectory = index if self.has_queue else jnp.arange(batch.size, dtype=jnp.int32)
        stops = stops_among(batch.map(Problem.stops, problem_rows), times)
        collected = None
        if not frame.only_ends:
            collected = batch.map(self._collect, problem_rows, times, rows_bar, in_axes=(1, 0))

        active = ActiveLanes.of(is_active)
        # A lane without a step must not bring in NaN, whatever its state is: it repeats an active one with cotangent 0.
        stop_pairs = None if stops is None else jnp.stack([stops[:-1], stops[1:]], axis=2)
        ends = jax.vmap(ActiveLanes.lend)(active, (times[:-1], times[1:], stop_pairs, is_jump))

        def step_back(state: tuple[Any, _Carry, Evaluations | None]) -> tuple[Any, _Carry, Evaluations | None]:
            (i, goes_on), here, evaluations = _before(state[0][0], tree_bytes(bars.z)), *state[1:]
            mine = None if collected is None else jax.tree.map(lambda leaf: jnp.take(leaf, i, axis=1), collected)
            who, which = tree_read(active, i), (problem_rows, trajectory)
            taken = who.lend(tree_read(states, i))
            here, found = self._transpose_step(*which, who, tree_read(ends, i), taken, here, mine, costs_bar)
            return (i, goes_on), here, tree_write(evaluations, i, found)

        own = tree_zeros(self.split.of(problem_rows).own)
        here = _Carry(bars, carry.parameters._replace(own=own), carry.controls)
        length = times.shape[0] - 1
        room = None if self.deferral is None else self.deferral.room(length, len(trajectory))
        start = ((num_attempts, num_attempts > 0), here, room)
        _, end, evaluations = repeat(lambda state: state[0][1], step_back, start, length)
        if self.deferral is not None:
            is_used = jnp.any(is_active, axis=0)
            used = ActiveLanes.of(is_used)
            found = self.deferral.gradient(self._lend_rows(used, problem_rows), evaluations, is_active)
            end = self._add_parameters(end, used, found)
        before, own = carry.parameters.own, end.parameters.own
        own = add_rows(before, index, own) if self.has_queue else tree_add(before, own)
        bars = put_rows(carry.bars, index, end.bars) if self.has_queue else end.bars
        return end._replace(bars=bars, parameters=end.parameters._replace(own=own))

    def _collect(self, problem: Problem, times: Array, rows: State) -> State:
        """The cotangents of the dense output of one lane's attempts."""
        num_rows = self.batch.num_rows_of(problem)
        return collect_cotangents_by_step(problem, times, rows, num_rows)

    def _transpose_step(
        self,
        problem_rows: list[Array],
        trajectory: Int[Array, " lane"],
        active: ActiveLanes,
        ends: tuple[Array, Array, Array | None, Array | None],
        state: tuple[State, State | None],
        carry: _Carry,
        mine: State | None,
        costs_bar: dict[str, Array],
    ) -> tuple[_Carry, Evaluations | None]:
        """One attempt of all lanes, from the cotangents at its end to those at its start. `ends` and `state` are lent.

        Also the evaluations of the field, where the gradient for parameters is deferred.
        """
        bars, controls, solver = carry.bars, self.controls, self.frame.solver
        dense_bars = None
        if mine is not None:
            dense_bars = jax.vmap(lambda dt, parts: DenseBars.of(solver, dt, parts))(ends[1] - ends[0], mine)
        cotangent = (bars.z, bars.f, dense_bars, costs_bar)
        cotangent = active.or_zero(cotangent)
        tables, pull_tables = controls.tabulate(problem_rows, ends[0], ends[1], ends[2])
        tables = active.lend(tables)
        problem_rows = self._lend_rows(active, problem_rows)
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
        parameters_bar, tables_bar, shift_bar, state_bar, probes_bar = pull(cotangent)
        z_bar, f_bar = tree_where_rows(active.lanes, state_bar, (bars.z, bars.f))
        carry = carry._replace(bars=_Bars(z_bar, f_bar, bars.shift))
        carry = self._add(carry, trajectory, active, (shift_bar, pull_tables(tables_bar)))
        if parameters_bar is not None:
            return self._add_parameters(carry, active, parameters_bar), None
        times, states = seen
        return carry, Evaluations(times, states, active.or_zero(probes_bar))

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

        jumping = ActiveLanes.of(is_jump)

        def jumped() -> tuple[State, State | None]:
            return self.batch.map(jump, self._lend_rows(jumping, problem_rows), *jumping.lend((t, z, parameters.own)))

        return tree_where_rows(is_jump, lax.cond(any_over_batch(jumping.is_any), jumped, lambda: after), after)

    def _lend_rows(self, active: ActiveLanes, problem_rows: list[Array]) -> list[Array]:
        """Rows in which lanes that are not active have field and jumps of an active one, but for what comes from
        tables.
        """
        return [
            active.lend(rows) if is_lent else rows
            for rows, is_lent in zip(problem_rows, self.controls.rows_of_dynamics, strict=True)
        ]

    def _add(self, carry: _Carry, trajectory: Int[Array, " lane"], active: ActiveLanes, found: Any) -> _Carry:
        """`carry` with the gradients of shift and tables of the active lanes added."""
        shift_bar, rows = active.or_zero(found)
        bars, total = carry.bars, self.controls.shift_of(rows)
        return carry._replace(
            bars=bars._replace(shift=bars.shift + shift_bar + total),
            controls=self.controls.add(carry.controls, trajectory, rows),
        )

    def _add_parameters(self, carry: _Carry, active: ActiveLanes, found: Parameters) -> _Carry:
        """`carry` with the gradients of shared and own parameters of the active lanes added."""
        shared = tree_where(active.is_any, found.shared, tree_zeros(found.shared))
        found = Parameters(shared, active.or_zero(found.own))
        return carry._replace(parameters=tree_add(carry.parameters, found))

    def _leave_start(self, carry: _Carry) -> _Carry:
        """Transpose the slopes that the trajectories start with."""
        bars, controls = carry.bars, self.controls
        if bars.f is None:
            return carry
        active = ActiveLanes.of(jax.vmap(tree_any_nonzero)(bars.f))
        f_bar = active.or_zero(bars.f)
        problem_rows = self.batch.rows()
        starts = self.batch.map(lambda problem: (problem.ts[0], problem.solver.start(problem.y0)), problem_rows)
        tables, pull_tables = controls.tabulate(problem_rows, starts[0], starts[0], None)
        problem_rows, tables, (t0, z0) = active.lend((problem_rows, tables, starts))

        def slopes(parameters: Parameters, tables: Tables, shift: Array, z: State) -> State:
            def slope(problem: Problem, t0: Array, own: list[Array], tables: Tables, shift: Array, z: State) -> State:
                # Of a step without length all rows of a table are the same, and the first call may read any.
                plain, _ = self.split.dynamics(problem, parameters._replace(own=own))
                return problem.solver.slope(controls.bind(plain, shift, tables), t0, z)

            return self.batch.map(slope, problem_rows, t0, parameters.own, tables, shift, z)

        _, pull = jax.vjp(slopes, self.split.of(problem_rows), tables, jnp.zeros_like(bars.shift), z0)
        parameters_bar, tables_bar, shift_bar, z_bar = pull(f_bar)
        carry = carry._replace(bars=bars._replace(z=tree_add(bars.z, active.or_zero(z_bar))))
        trajectory = jnp.arange(self.batch.size, dtype=jnp.int32)
        carry = self._add(carry, trajectory, active, (shift_bar, pull_tables(tables_bar)))
        return self._add_parameters(carry, active, parameters_bar)


def _before(i: Int[Array, ""], num_bytes: int) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The attempt before, and whether there is one before that; in a loop that carries so many bytes."""

    @one_kernel(num_bytes)
    def before() -> tuple[Int[Array, ""], Bool[Array, ""]]:
        return i - 1, i > 1

    return before()
