r"""The continuous adjoint along the stored solution, parameters by quadrature.

    da/dt = -(∂f/∂y)ᵀ a,        dL/dθ = ∫ (∂f/∂θ)ᵀ a dt

The parameter gradient feeds back into nothing, so that it need not be a state of the backward solve: it is an integral,
and Gauss's rule takes half as many nodes for it as the solver has stages.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.continuous import Outputs, adjoint_slope, refuse_path_and_costs, times_cotangent
from node_jax.adjoints.rewind import Rewinder, Span
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.interpolate.dense import DensePath
from node_jax.stepping import LoopResult, Problem, Tape, integrate_single, take_step
from node_jax.stepping.attempt import inside
from node_jax.stepping.outputs import empty_path, extend_path
from node_jax.stepping.tape import choose_num_slots
from node_jax.tree import tree_add, tree_scale
from node_jax.types import State, Time


class GaussAdjoint(AbstractAdjoint):
    """The continuous adjoint along the stored solution, for fields with many parameters.

    States are kept as by `CheckpointedAdjoint`, stages are not. The backward pass takes each step of the forward solve
    again for its dense output, solves for a over it with the same method, and adds the parameter gradient by Gauss's
    rule, all nodes in one evaluation. Where an output lies inside a step the step is cut there, because a jumps.

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
        """`num_nodes` must be positive."""
        if self.num_nodes is not None and self.num_nodes < 1:
            raise ValueError(f"GaussAdjoint: expected num_nodes to be at least 1, got {self.num_nodes}.")

    def check(self, problem: Problem) -> None:
        """No dense output, no costs, and a method whose state is y."""
        refuse_path_and_costs(self, problem)

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""
        num_slots = choose_num_slots(self.checkpoints, problem.max_steps, problem.y0)

        def run(problem: Problem, wants_times: bool | None) -> tuple[LoopResult, Any]:
            if wants_times is None:
                return integrate_single(problem)[0], None
            result, tape, _ = integrate_single(problem, num_slots)
            assert tape is not None
            return result, _Record(tape, result.z_end, result.ys, result.num_nodes, result.num_saved)

        return solve_with_rule(problem, run, self._pull_back)

    def _pull_back(self, solved: Solved) -> Gradient:
        problem, record = solved.problem, solved.record
        outputs = Outputs.of(solved, record.ys, record.num_saved, solved.rows)
        rewinder = Rewinder(problem, record.tape, record.num_nodes, record.z_end, reads_dense=True)
        num_nodes = self.num_nodes or problem.solver.order // 2 + 1
        sweep = _Sweep(solved, rewinder, outputs, num_nodes)
        zeros = jax.tree.map(jnp.zeros_like, solved.parameters)
        start = (outputs.at(outputs.ts[-1])[1], zeros)
        a, parameters_bar = rewinder.run(start, sweep.visit)
        ts_bar = times_cotangent(solved, record.ys, a) if solved.wants_times else None
        return Gradient(a, parameters_bar, ts_bar)


class _Record(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    tape: Tape
    z_end: State
    ys: State
    num_nodes: Int[Array, ""]
    num_saved: Int[Array, ""]


class _Sweep:
    """Solves for a over one step of the forward solve after the other."""

    def __init__(self, solved: Solved, rewinder: Rewinder, outputs: Outputs, num_nodes: int) -> None:
        self.solved = solved
        self.problem = solved.problem
        self.rewinder = rewinder
        self.outputs = outputs
        nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
        self.nodes, self.weights = (1 - nodes) / 2, weights / 2

    def visit(
        self, span: Span, extra: None, i: Int[Array, ""], y0: State, carry: tuple[State, list[Array]]
    ) -> tuple[State, list[Array]]:
        """From the end of a step to its start, in pieces that end at the outputs inside it."""
        del extra
        t0, t1 = lax.dynamic_slice_in_dim(span.times, i, 2)
        path = self._dense(t0, t1, y0)
        ts, direction = self.outputs.ts, self.problem.direction

        def piece(state: tuple[Time, State, list[Array]]) -> tuple[Time, State, list[Array]]:
            high, a, parameters_bar = state
            inner = jnp.where(ts * direction < high * direction, ts * direction, -jnp.inf)
            low = jnp.maximum(jnp.max(inner), t0 * direction) * direction
            a, parameters_bar = self._solve_piece(path, t0, t1, high, low, a, parameters_bar)
            arriving = self.outputs.at(low)[1]
            is_output = jnp.any(ts == low)
            a = jax.tree.map(lambda x, row: x + jnp.where(is_output, row, 0), a, arriving)
            return low, a, parameters_bar

        _, a, parameters_bar = lax.while_loop(lambda state: state[0] * direction > t0 * direction, piece, (t1, *carry))
        return a, parameters_bar

    def _dense(self, t0: Time, t1: Time, y0: State) -> DensePath:
        """The dense output of one step."""
        problem, solver = self.problem, self.problem.solver
        dt = t1 - t0
        step = take_step(problem, self.rewinder.stops, problem.field, t0, t1, dt, y0, dense=True)
        start = eqx.tree_at(lambda p: (p.ts, p.y0), problem, (jnp.stack([t0, t1]), y0))
        return extend_path(empty_path(start, 1), jnp.int32(0), t1, step.z1, solver.coefficients(dt, step.stages))

    def _solve_piece(
        self, path: DensePath, t0: Time, t1: Time, high: Time, low: Time, a: State, parameters_bar: list[Array]
    ) -> tuple[State, list[Array]]:
        """One step of the method for a from `high` back to `low`, and the quadrature over it."""
        solver, direction = self.problem.solver, self.problem.direction
        h = low - high

        def field(parameters: list[Array], t: Time, y: State) -> State:
            return inside(self.problem, self.rewinder.stops, self.solved.field_with(parameters), t0, t1)(t, y)

        def slope(t: Time, a: State) -> State:
            y = jax.tree.map(lambda leaf: leaf[0], path.evaluate(t[None], direction))
            return adjoint_slope(lambda y: field(self.solved.parameters, t, y), y, a)

        step = solver.step(slope, high, h, a, None, dense=True)
        ends = (jnp.stack([high, low]), a, -direction)
        frame = eqx.tree_at(lambda p: (p.ts, p.y0, p.direction), self.problem, ends)
        adjoint_path = extend_path(
            empty_path(frame, 1), jnp.int32(0), low, step.z1, solver.coefficients(h, step.stages)
        )
        times = high + h * jnp.asarray(self.nodes, h.dtype)
        ys, values = path.evaluate(times, direction), adjoint_path.evaluate(times, -direction)
        weights = -h * jnp.asarray(self.weights, h.dtype)
        weighted = jax.vmap(tree_scale)(weights, values)

        def at_nodes(parameters: list[Array]) -> State:
            return jax.vmap(lambda t, y: field(parameters, t, y))(times, ys)

        _, pull = jax.vjp(at_nodes, self.solved.parameters)
        return step.z1, tree_add(parameters_bar, pull(weighted)[0])
