"""The discrete adjoint: exact gradients of the steps that were taken."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.discrete import cotangent_of_start, cotangent_of_times
from node_jax.adjoints.lanes import solve_lanes
from node_jax.adjoints.rewind import Rewinder
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.adjoints.transpose import Transposer
from node_jax.backend import on_gpu
from node_jax.errors import require_count
from node_jax.stepping import Batch, LoopResult, Problem, Tape, integrate_single
from node_jax.stepping.controls import ControlledField
from node_jax.stepping.tape import choose_num_slots
from node_jax.types import State


class CheckpointedAdjoint(AbstractAdjoint):
    """The default: exact reverse-mode gradients from the recorded steps.

    Gradients flow to y0, to every floating-point array that the field or `args` holds or closes over, and to `ts`.
    "Exact" means exact for the recorded step sizes. First order by `jax.grad`, second order by forward over reverse
    (`jax.hessian`). `jax.jvp` of the solve itself is not available.

    The forward loop keeps every state while that is small. Else it keeps those of every s-th step, where s doubles
    whenever the slots run out, and the backward pass takes the steps between them again, without error estimate or
    controller, at most 16 states at a time. With K checkpoints and N steps s is N / K rounded up to a power of two, and
    a step is taken again about (1 + s/16) / 2 times, at least once if s > 1.

    On a GPU one system is solved as a batch of one unless `checkpoints` says how many states to keep, and keeps what a
    batch does (docs/gpu.md, docs/batches.md).

    Arguments:
        checkpoints: how many states to keep. `None` keeps all of them if `max_steps` of them take less than 4 MiB, else
            as many as fit in that, but at least 64. More than `max_steps` keeps all.
    """

    checkpoints: int | None = eqx.field(static=True, default=None)

    @property
    def allows_jumps(self) -> bool:
        """True."""
        return True

    def validate(self) -> None:
        """`checkpoints` must be an integer of at least 4."""
        validate_checkpoints("CheckpointedAdjoint", self.checkpoints)

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        if on_gpu() and self.checkpoints is None and not (problem.wants_path or problem.wants_errors):
            return _solve_as_batch(problem)
        num_slots = choose_num_slots(self.checkpoints, problem.max_steps, problem.solver.start(problem.y0))
        return solve_discretely(problem, num_slots, None)

    def solve_batch(self, batch: Batch, num_lanes: int, max_rows: int) -> LoopResult:
        """See `AbstractAdjoint.solve_batch`."""
        return solve_lanes(batch, num_lanes, max_rows)


def _solve_as_batch(problem: Problem) -> LoopResult:
    """A batch of one: its loops have counted passes, and defer the gradient for parameters."""
    problem = dataclasses.replace(problem, field=ControlledField.without_controls(problem.field))
    shared = jax.tree.map(lambda _: False, problem)
    is_mapped = dataclasses.replace(shared, y0=jax.tree.map(lambda _: True, problem.y0))
    y0s = jax.tree.map(lambda leaf: leaf[None], problem.y0)
    batch = Batch(dataclasses.replace(problem, y0=y0s), tuple(jax.tree.leaves(is_mapped)), 1)
    result = solve_lanes(batch, 1, problem.max_steps)
    stats = dataclasses.replace(result.stats, num_executed=None)
    ones = dataclasses.replace(result, stats=stats, num_nodes=result.num_nodes[None])
    return jax.tree.map(lambda leaf: leaf[0], ones)


def validate_checkpoints(owner: str, checkpoints: int | None) -> None:
    """Raise `ValueError` unless `checkpoints` is `None` or an integer of at least 4."""
    if checkpoints is not None:
        require_count(owner, "checkpoints", checkpoints, 4, "; leave it out to let memory decide")


def solve_discretely(problem: Problem, num_slots: int, stride: int | None, *, steps_back: bool = False) -> LoopResult:
    """A loop with the gradient rule of the way back over its tape.

    Arguments:
        problem: the problem.
        num_slots, stride: which states to keep; see `Tape.empty`.
        steps_back: whether the others are found by stepping back, of a reversible method, instead of by replay.
    """

    def run(problem: Problem, wants_times: bool | None) -> tuple[LoopResult, _Record | None]:
        if wants_times is None:
            return integrate_single(problem)[0], None
        result, tape, rows = integrate_single(problem, num_slots, stride, with_slopes=wants_times)
        assert tape is not None
        return result, _Record(tape, result.z_end, None if rows is None else rows.slopes, result.num_nodes, steps_back)

    return solve_with_rule(problem, run, _pull_back)


class _Record(eqx.Module):
    """What the forward pass leaves for the backward pass."""

    tape: Tape
    z_end: State
    slopes: State | None
    """dy/dt at the times, where `ts` is differentiated."""
    num_nodes: Int[Array, ""]
    steps_back: bool = eqx.field(static=True)


def _pull_back(solved: Solved) -> Gradient:
    """Walk the tape from its end to its start."""
    problem, record, rows = solved.problem, solved.record, solved.rows
    reads_dense = solved.path is not None or not problem.only_ends
    rewinder = Rewinder(
        problem,
        record.tape,
        record.num_nodes,
        record.z_end,
        reads_dense=reads_dense,
        steps_back=record.steps_back,
    )
    bars = Transposer(solved, rewinder).run()
    y0_bar = cotangent_of_start(problem, rows, bars.z)
    ts_bar = None
    if solved.wants_times:
        ts_bar = cotangent_of_times(problem, rows, record.slopes, record.z_end, bars.shift)
    if solved.path is not None:
        y0_bar = jax.tree.map(lambda bar, leaf: bar + leaf[0, 0], y0_bar, solved.path.nodes)
        if ts_bar is not None:
            ts_bar = ts_bar.at[0].add(jnp.sum(solved.path.times))
    return Gradient(y0_bar, bars.parameters, ts_bar)
