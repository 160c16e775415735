r"""The continuous adjoint, solved backward in time together with the state.

With a(t) = ∂L/∂y(t), Chen et al. (2018), arXiv:1806.07366, eqs. 4 and 5:

    da/dt = -(∂f/∂y)ᵀ a,        dL/dθ = ∫ (∂f/∂θ)ᵀ a dt,

and a jumps by the cotangent of an output where there is one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from node_jax.adjoints.base import AbstractAdjoint
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.controllers import AbstractController, PIController
from node_jax.status import Status
from node_jax.stepping import LoopResult, Problem, integrate_single
from node_jax.tree import expand_like, tree_add, tree_read, tree_scale, tree_vdot
from node_jax.types import State, Time


class BacksolveAdjoint(AbstractAdjoint):
    """The continuous adjoint: memory that does not depend on the number of steps, gradients as good as the tolerance.

    y, a and the gradient of the parameters are solved backward as one system, in one solve that steps over the output
    times: there a jumps, y is set back to the value of the forward solve, and the step size goes on as it was.
    Cotangents are scaled to about 1 before, so that `atol` means the same for every loss.

    The gradient is that of the exact flow, not of the steps taken: it differs from the other adjoints by an error of
    the order of the tolerance, and by more if y cannot be solved backward stably (dissipative or chaotic fields). If
    the backward solve fails, every entry of the gradient is NaN. No dense output, no `record`.

    Arguments:
        controller: step sizes of the backward solve; `None` takes those of the forward solve.
        use_seminorm: whether the error norm leaves the gradient of the parameters out, which nothing feeds back from.
        max_steps: bound on attempted steps backward; `None` allows as many as forward and two for each output.

    Reference: Kidger, Chen & Lyons (2021), "Hey, that's not an ODE", arXiv:2009.09457, for the seminorm.
    """

    controller: AbstractController | None = None
    use_seminorm: bool = eqx.field(static=True, default=True)
    max_steps: int | None = eqx.field(static=True, default=None)

    def validate(self) -> None:
        """The controller must be valid, and `max_steps` positive."""
        if self.controller is not None:
            self.controller.validate()
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"BacksolveAdjoint: expected max_steps to be at least 1, got {self.max_steps}.")

    def check(self, problem: Problem) -> None:
        """No dense output, no costs, and a method whose state is y."""
        refuse_path_and_costs(self, problem)

    def solve(self, problem: Problem) -> LoopResult:
        """See `AbstractAdjoint.solve`."""

        def run(problem: Problem, wants_times: bool | None) -> tuple[LoopResult, Any]:
            del wants_times
            result = integrate_single(problem)[0]
            return result, (result.ys, result.num_saved)

        return solve_with_rule(problem, run, self._pull_back)

    def _pull_back(self, solved: Solved) -> Gradient:
        problem = solved.problem
        ys, num_saved = solved.record
        scale = _size(solved.rows)
        rows = tree_scale(1 / scale, solved.rows)
        # The backward solve starts at the last output that was reached; beyond it all cotangents are zero.
        last = num_saved - 1
        ts = jnp.where(jnp.arange(problem.ts.shape[0]) < num_saved, problem.ts, problem.ts[last])
        add_output = _output_jump(ts, rows, tree_where_rows(num_saved, ys))
        zeros = jax.tree.map(jnp.zeros_like, solved.parameters)
        y_end = tree_read(ys, last)
        start = (y_end, jax.tree.map(jnp.zeros_like, y_end), zeros)
        num_outputs = problem.ts.shape[0]
        backward = Problem(
            field=_augmented(solved),
            y0=add_output(ts[-1], start),
            ts=jnp.stack([ts[-1], ts[0]]),
            solver=problem.solver,
            controller=self._backward_controller(problem),
            extra_stops=ts[::-1],
            at_stop=add_output,
            max_steps=self.max_steps or problem.max_steps + 2 * num_outputs,
        )
        result = integrate_single(backward)[0]
        _, a, parameters_bar = result.z_end
        is_solved = result.status == Status.success
        y0_bar, parameters_bar = jax.tree.map(
            lambda leaf: jnp.where(is_solved, leaf * scale.astype(leaf.dtype), jnp.nan), (a, parameters_bar)
        )
        ts_bar = _times_cotangent(solved, ys, y0_bar) if solved.wants_times else None
        return Gradient(y0_bar, parameters_bar, ts_bar)

    def _backward_controller(self, problem: Problem) -> AbstractController:
        """The controller for the state (y, a, gradient of the parameters)."""
        controller = problem.controller if self.controller is None else self.controller
        if not isinstance(controller, PIController):
            return controller
        # A tolerance that is a tree has one entry for each part of y; a takes the same.
        rtol, atol = ((tol, tol, 1.0) if not eqx.is_array(tol) else tol for tol in (controller.rtol, controller.atol))
        norm = controller.norm
        adjoint_norm = _Seminorm(norm) if self.use_seminorm else norm
        return dataclasses.replace(controller, rtol=rtol, atol=atol, norm=adjoint_norm)


class _Seminorm(eqx.Module):
    """The larger of the norms of y and a; hashable, so that two solves with one norm compile once."""

    norm: Callable[[Any], Array] = eqx.field(static=True)

    def __call__(self, x: Any) -> Array:
        y, a, _ = x
        return jnp.maximum(self.norm(y), self.norm(a))


def refuse_path_and_costs(adjoint: AbstractAdjoint, problem: Problem) -> None:
    """Raise `ValueError` where a continuous adjoint is asked for what only a discrete one has."""
    name = type(adjoint).__name__
    if problem.wants_path or problem.costs:
        asked = "dense=True" if problem.wants_path else f"record={problem.costs}"
        raise ValueError(
            f"odeint: {name} differentiates the values at `ts` alone, and has no gradient for {asked}. "
            "Use adjoint=nj.CheckpointedAdjoint() or nj.DirectAdjoint()."
        )
    if not problem.solver.is_plain:
        raise ValueError(
            f"odeint: {name} solves an equation of another structure backward, which "
            f"{type(problem.solver).__name__} cannot step. Use a Runge-Kutta method such as nj.Tsit5(), or "
            "adjoint=nj.CheckpointedAdjoint()."
        )


def _size(rows: State) -> Float[Array, ""]:
    """The largest cotangent, or 1 if all are zero."""
    largest = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda leaf: jnp.max(abs(leaf), initial=0.0), rows))
    largest = lax.stop_gradient(largest)
    return jnp.where(largest > 0, largest, 1)


def tree_where_rows(num_rows: Array, ys: State) -> State:
    """`ys` with the rows from `num_rows` on equal to the last before, in place of NaN."""

    def fill(leaf: Array) -> Array:
        is_row = jnp.arange(leaf.shape[0]) < num_rows
        return jnp.where(expand_like(is_row, leaf), leaf, leaf[num_rows - 1])

    return jax.tree.map(fill, ys)


def _augmented(solved: Solved) -> Callable[[Time, Any], Any]:
    """d/dt of (y, a, -gradient of the parameters)."""

    def field(t: Time, z: Any) -> Any:
        y, a, _ = z
        dy, pull = jax.vjp(lambda y, parameters: solved.field_with(parameters)(t, y), y, solved.parameters)
        y_bar, parameters_bar = pull(a)
        return dy, jax.tree.map(jnp.negative, y_bar), jax.tree.map(jnp.negative, parameters_bar)

    return field


def _output_jump(ts: Float[Array, " time"], rows: State, ys: State) -> Callable[[Time, Any], Any]:
    """What happens at an output time: a takes its cotangent, y its value of the forward solve.

    Cotangents of equal times are summed beforehand, so that a stop is met once.
    """
    group = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.cumsum(ts[1:] != ts[:-1], dtype=jnp.int32)])
    num_rows = ts.shape[0]
    summed = jax.tree.map(lambda leaf: jax.ops.segment_sum(leaf, group, num_rows), rows)
    values = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[group].set(leaf), ys)

    def jump(t: Time, z: Any) -> Any:
        _, a, parameters_bar = z
        row = group[jnp.argmax(ts == t)]
        return tree_read(values, row), tree_add(a, tree_read(summed, row)), parameters_bar

    return jump


def _times_cotangent(solved: Solved, ys: State, y0_bar: State) -> Float[Array, " time"]:
    """Each output moves along the slope there, and a shift of the start moves the whole solution."""
    problem = solved.problem
    slopes = jax.vmap(lambda t, y: problem.field(t, y))(problem.ts, ys)
    slopes = jax.tree.map(lambda leaf, row: jnp.where(row == 0, 0, leaf), slopes, solved.rows)
    ts_bar = jax.vmap(tree_vdot)(solved.rows, slopes).astype(problem.ts.dtype)
    f0 = problem.field(problem.ts[0], problem.y0)
    return ts_bar.at[0].add(-tree_vdot(y0_bar, f0).astype(problem.ts.dtype))
