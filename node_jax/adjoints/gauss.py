r"""The continuous adjoint along the stored solution, parameters by quadrature.

    da/dt = -(∂f/∂y)ᵀ a,        dL/dθ = ∫ (∂f/∂θ)ᵀ a dt

The parameter gradient feeds back into nothing, so that it need not be a state of the backward solve: it is an integral,
and Gauss's rule takes half as many nodes for it as the solver has stages.
"""

import dataclasses
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.checkpointed import validate_checkpoints
from node_jax.adjoints.continuous import Outputs, adjoint_slope, refuse_path_and_costs, times_cotangent
from node_jax.adjoints.rewind import Rewinder, Span, Visit
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.errors import require_count
from node_jax.interpolate.dense import DensePath
from node_jax.stepping import LoopResult, Problem, Tape, integrate_single, take_step
from node_jax.stepping.attempt import inside
from node_jax.stepping.outputs import empty_path, extend_path
from node_jax.stepping.tape import choose_num_slots, tape_is_small
from node_jax.tree import tree_add, tree_scale, tree_slice
from node_jax.types import BoundField, State, Time


class GaussAdjoint(AbstractAdjoint):
    """The continuous adjoint along the stored solution, for fields with many parameters.

    The backward pass solves for a along the dense output of each forward step with the same method, and adds the
    parameter gradient by Gauss's rule, all nodes in one evaluation. Where an output lies inside a step the step is cut
    there, because a jumps. States are kept as by `CheckpointedAdjoint`; dense output is kept where that is small, else
    each step is taken again for it.

    The gradient is that of the exact flow, up to the error of the forward steps; there is no step-size control backward
    and nothing to fail. No dense output, no `record`.

    Arguments:
        checkpoints: how many states to keep; see `CheckpointedAdjoint`.
        num_nodes: nodes of the quadrature in each step; `None` takes as many as suit the order of the solver.

    Reference: Norcliffe & Deisenroth (2023), Faster Training of Neural ODEs Using Gauß-Legendre Quadrature,
    arXiv:2308.10644.
    """

    checkpoints: int | None = eqx.field(static=True, default=None)
    num_nodes: int | None = eqx.field(static=True, default=None)

    def validate(self) -> None:
        """`checkpoints` as for `CheckpointedAdjoint`, and `num_nodes` positive."""
        validate_checkpoints("GaussAdjoint", self.checkpoints)
        if self.num_nodes is not None:
            require_count("GaussAdjoint", "num_nodes", self.num_nodes)

    def check(self, problem: Problem) -> None:
        """No dense output, no costs, and a method whose state is y."""
        refuse_path_and_costs(self, problem, problem.solver)

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        num_slots = choose_num_slots(self.checkpoints, problem.max_steps, problem.y0)
        # A state that is small beside the field's parameters: its dense output is cheaper to keep than to find again.
        keeps_path = tape_is_small(problem.max_steps, problem.y0, 1 + problem.solver.num_coefficients)

        def run(problem: Problem, wants_times: bool | None) -> tuple[LoopResult, Any]:
            if wants_times is None:
                return integrate_single(problem)[0], None
            recorded = dataclasses.replace(problem, wants_path=keeps_path)
            result, tape, _ = integrate_single(recorded, num_slots)
            assert tape is not None
            record = _Record(tape, result.z_end, result.ys, result.num_nodes, result.num_saved, result.path)
            return dataclasses.replace(result, path=None), record

        return solve_with_rule(problem, run, self._pull_back)

    def _pull_back(self, solved: Solved) -> Gradient:
        problem, record = solved.problem, solved.record
        outputs = Outputs.of(solved, record.ys, record.num_saved)
        rewinder = Rewinder(problem, record.tape, record.num_nodes, record.z_end, reads_dense=True)
        num_nodes = self.num_nodes or problem.solver.order // 2 + 1
        sweep = _Sweep(solved, rewinder, outputs, num_nodes)
        zeros = jax.tree.map(jnp.zeros_like, solved.parameters)
        # A solve that failed goes on beyond the last output that it reached: nothing depends on that part.
        is_at_end = outputs.ts[-1] == record.tape.times[record.num_nodes]
        a = jax.tree.map(lambda row: jnp.where(is_at_end, row, 0), outputs.at(outputs.ts[-1])[1])
        slope = adjoint_slope(lambda y: problem.field(outputs.ts[-1], y), record.z_end, a)
        a, _, parameters_bar = rewinder.run(rewinder.end(), (a, slope, zeros), sweep.visit)
        ts_bar = times_cotangent(solved, record.ys, a) if solved.wants_times else None
        return Gradient(a, parameters_bar, ts_bar)


class _Record(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    tape: Tape
    z_end: State
    ys: State
    num_nodes: Int[Array, ""]
    num_saved: Int[Array, ""]
    path: DensePath | None


_Carry: TypeAlias = tuple[State, State, list[Array]]
"""a, da/dt and the gradient of the parameters."""


class _Sweep:
    """Solves for a over one step of the forward solve after the other."""

    def __init__(self, solved: Solved, rewinder: Rewinder, outputs: Outputs, num_nodes: int) -> None:
        self.solved = solved
        self.problem = solved.problem
        self.rewinder = rewinder
        self.outputs = outputs
        nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
        self.nodes, self.weights = (1 - nodes) / 2, weights / 2

    def visit(self, span: Span, extra: None, here: Visit, y0: State, carry: _Carry) -> _Carry:
        """From the end of a step to its start, in pieces that end at the outputs inside it."""
        del extra
        t0, t1 = here.t0, here.t1
        path = self._dense(span.begin + here.i, t0, t1, y0)
        ts, direction = self.outputs.ts, self.problem.direction

        def piece(state: tuple[Time, _Carry]) -> tuple[Time, _Carry]:
            high, carry = state
            inner = jnp.where(ts * direction < high * direction, ts * direction, -jnp.inf)
            low = jnp.maximum(jnp.max(inner), t0 * direction) * direction
            a, slope, parameters_bar = self._solve_piece(path, t0, t1, high, low, carry)

            def jump(a: State, slope: State) -> tuple[State, State]:
                del slope
                a = tree_add(a, self.outputs.at(low)[1])
                return a, self._slope(path, t0, t1)(low, a)

            a, slope = lax.cond(jnp.any(ts == low), jump, lambda a, slope: (a, slope), a, slope)
            return low, (a, slope, parameters_bar)

        return lax.while_loop(lambda state: state[0] * direction > t0 * direction, piece, (t1, carry))[1]

    def _dense(self, n: Int[Array, ""], t0: Time, t1: Time, y0: State) -> DensePath:
        """The dense output of step n, kept or found again."""
        problem, solver, kept = self.problem, self.problem.solver, self.solved.record.path
        if kept is not None:
            nodes = tree_slice(kept.nodes, n, 2)
            return DensePath(jnp.stack([t0, t1]), nodes, kept.num_coefficients)
        dt = t1 - t0
        step = take_step(problem, self.rewinder.stops, problem.field, t0, t1, dt, y0, dense=True)
        start = eqx.tree_at(lambda p: (p.ts, p.y0), problem, (jnp.stack([t0, t1]), y0))
        return extend_path(empty_path(start, 1), jnp.int32(0), t1, step.z1, solver.coefficients(dt, step.stages))

    def _field(self, parameters: list[Array], t0: Time, t1: Time) -> BoundField:
        """The field inside the step from t0 to t1."""
        return inside(self.problem, self.rewinder.stops, self.solved.field_with(parameters), t0, t1)

    def _slope(self, path: DensePath, t0: Time, t1: Time) -> BoundField:
        """da/dt at (t, a), along the dense output of the step."""
        field = self._field(self.solved.parameters, t0, t1)

        def slope(t: Time, a: State) -> State:
            y = jax.tree.map(lambda leaf: leaf[0], path.evaluate(t[None], self.problem.direction))
            return adjoint_slope(lambda y: field(t, y), y, a)

        return slope

    def _solve_piece(self, path: DensePath, t0: Time, t1: Time, high: Time, low: Time, carry: _Carry) -> _Carry:
        """One step of the method for a from `high` back to `low`, and the quadrature over it."""
        a, slope, parameters_bar = carry
        solver, direction = self.problem.solver, self.problem.direction
        h = low - high
        # Where the field may jump between steps, so may the slope that the step before ended with.
        f0 = slope if self.problem.reuses_slope else None
        step = solver.step(self._slope(path, t0, t1), high, h, a, f0, dense=True)
        ends = (jnp.stack([high, low]), a, -direction)
        frame = eqx.tree_at(lambda p: (p.ts, p.y0, p.direction), self.problem, ends)
        coefficients = solver.coefficients(h, step.stages)
        adjoint_path = extend_path(empty_path(frame, 1), jnp.int32(0), low, step.z1, coefficients)
        times = high + h * jnp.asarray(self.nodes, h.dtype)
        ys, values = path.evaluate(times, direction), adjoint_path.evaluate(times, -direction)
        weights = -h * jnp.asarray(self.weights, h.dtype)
        weighted = jax.vmap(tree_scale)(weights, values)

        def at_nodes(parameters: list[Array]) -> State:
            return jax.vmap(self._field(parameters, t0, t1))(times, ys)

        _, pull = jax.vjp(at_nodes, self.solved.parameters)
        return step.z1, step.f1, tree_add(parameters_bar, pull(weighted)[0])
