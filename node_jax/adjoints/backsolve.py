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
from node_jax.adjoints.continuous import Outputs, refuse_path_and_costs, times_cotangent
from node_jax.adjoints.rule import Gradient, Solved, solve_with_rule
from node_jax.controllers import AbstractController, PIController
from node_jax.errors import require_count
from node_jax.solvers import AbstractSolver, ExplicitRungeKutta
from node_jax.solvers.tableaus import CASH_KARP5
from node_jax.status import Status
from node_jax.stepping import LoopResult, Problem, integrate_single
from node_jax.tree import rms_norm, tree_axpy, tree_where, tree_without_integrals
from node_jax.types import State, Time

_MOST_STEPS = 4096
"""Attempted steps that a controller gets which is not the forward solve's, beside as many as that solve may take."""


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
        use_seminorm: whether the error norm, the larger of the controller's norms of y and a, leaves the gradient of
            the parameters out, which nothing feeds back from. Else its root mean square counts as well.
        max_steps: bound on attempted steps backward. `None` allows as many as forward and two for each output; beside
            them as many as the controller is known to take, or 4096 for one given here of which that is not known.
        solver: method of the backward solve. `None` takes that of the forward solve, but `nj.CashKarp5()` for another
            method of order 5 whose steps adapt: no step backward hands a slope to the next, since a jumps at outputs,
            and then it is the cheapest of them. With outputs closer than the steps of the forward solve `nj.Bosh3()`
            costs less still, for errors of a percent.

    Reference: Kidger, Chen & Lyons (2021), "Hey, that's not an ODE", arXiv:2009.09457, for the seminorm.
    """

    controller: AbstractController | None = None
    use_seminorm: bool = eqx.field(static=True, default=True)
    max_steps: int | None = eqx.field(static=True, default=None)
    solver: AbstractSolver | None = None

    def validate(self) -> None:
        """The controller must be valid, `max_steps` positive, and `solver` one of ours."""
        if self.controller is not None:
            if not isinstance(self.controller, AbstractController):
                raise TypeError(
                    "BacksolveAdjoint: expected controller to be nj.PIController(...), nj.ConstantStep(dt), "
                    f"nj.FixedSteps(n) or None, got {self.controller!r}."
                )
            self.controller.validate()
        if self.solver is not None and not isinstance(self.solver, AbstractSolver):
            raise TypeError(
                f"BacksolveAdjoint: expected solver to be a Runge-Kutta method such as nj.CashKarp5(), written with "
                f"parentheses, or None, got {self.solver!r}."
            )
        if self.max_steps is not None:
            require_count("BacksolveAdjoint", "max_steps", self.max_steps)

    def check(self, problem: Problem) -> None:
        """No dense output, no costs; backward a method whose state is y, with an error estimate if steps adapt."""
        solver, controller = self._parts(problem)
        if self.controller is not None:
            self.controller.check_state(tree_without_integrals(problem.y0))
        refuse_path_and_costs(self, problem, solver)
        if controller.is_adaptive and not solver.has_error_estimate:
            raise ValueError(
                f"odeint: BacksolveAdjoint solves backward with {type(controller).__name__}, which needs an error "
                "estimate, and with a solver that has none. Give it another, as in "
                "nj.BacksolveAdjoint(solver=nj.Bosh3()), or controller=nj.ConstantStep(dt)."
            )

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
        solver, controller = self._parts(problem)
        # The backward solve starts at the last output that was reached; beyond it all cotangents are zero.
        outputs = Outputs.of(solved, ys, num_saved)
        largest = _largest(outputs.rows)
        scale = jnp.where(largest > 0, largest, 1)

        def add_output(t: Time, z: Any) -> Any:
            y, row = outputs.at(t)
            return tree_where(jnp.any(outputs.ts == t), (y, tree_axpy(1 / scale, row, z[1]), z[2]), z)

        ts = outputs.ts
        zeros = jax.tree.map(jnp.zeros_like, (problem.y0, problem.y0, solved.parameters))
        backward = Problem(
            field=_augmented(solved),
            y0=add_output(ts[-1], zeros),
            ts=ts[::-1],
            direction=-problem.direction,
            solver=solver,
            controller=self._for_augmented(controller),
            extra_stops=ts[::-1],
            jump_ts=None if problem.jump_ts is None else problem.jump_ts[::-1],
            at_stop=add_output,
            reads_rows=False,
            max_steps=self.max_steps or self._most_steps(problem),
        )
        result = integrate_single(backward)[0]
        _, a, parameters_bar = result.z_end
        is_solved = result.status == Status.success
        # Without a cotangent the gradient is zero wherever the solve back has led: of a failed one, too.
        otherwise = jnp.where(largest == 0, 0, jnp.nan)
        y0_bar, parameters_bar = jax.tree.map(
            lambda leaf: jnp.where(is_solved, leaf * scale.astype(leaf.dtype), otherwise.astype(leaf.dtype)),
            (a, parameters_bar),
        )
        ts_bar = times_cotangent(solved, ys, y0_bar) if solved.wants_times else None
        return Gradient(y0_bar, parameters_bar, ts_bar)

    def _parts(self, problem: Problem) -> tuple[AbstractSolver, AbstractController]:
        """What solves backward, and what chooses the steps."""
        controller, forward = self.controller or problem.controller, problem.solver
        if self.solver is not None:
            return self.solver, controller
        is_replaced = isinstance(forward, ExplicitRungeKutta) and forward.order == 5 and controller.is_adaptive
        return dataclasses.replace(forward, tableau=CASH_KARP5) if is_replaced else forward, controller

    def _most_steps(self, problem: Problem) -> int:
        """The bound on attempted steps that follows from those of the forward solve; it costs no memory."""
        num_times = problem.ts.shape[0]
        # Events add to the times, between all of which a fixed number of steps is taken.
        known = self._parts(problem)[1].num_steps(num_times)
        unknown = 0 if self.controller is None else _MOST_STEPS
        return problem.max_steps + 2 * num_times + (unknown if known is None else known)

    def _for_augmented(self, controller: AbstractController) -> AbstractController:
        """The controller for the state (y, a, gradient of the parameters)."""
        if not isinstance(controller, PIController):
            return controller

        def augmented(tolerance: Any) -> Any:
            """What fits y fits a; parameters, of other shapes, take the smallest of several."""
            if eqx.is_array(tolerance) and tolerance.ndim == 0:
                return tolerance
            return tolerance, tolerance, jax.tree.reduce(jnp.minimum, jax.tree.map(jnp.min, tolerance))

        rtol, atol = augmented(controller.rtol), augmented(controller.atol)
        norm = _AugmentedNorm(controller.norm, self.use_seminorm)
        return dataclasses.replace(controller, rtol=rtol, atol=atol, norm=norm)


class _AugmentedNorm(eqx.Module):
    """The largest of the norms of the parts; hashable, so that two solves with one norm compile once."""

    norm: Callable[[Any], Array] = eqx.field(static=True)
    """Of y, and of a."""
    use_seminorm: bool = eqx.field(static=True)
    """Whether the gradient of the parameters is left out."""

    def __call__(self, x: Any) -> Array:
        y, a, parameters_bar = x
        largest = jnp.maximum(self.norm(y), self.norm(a))
        return largest if self.use_seminorm else jnp.maximum(largest, rms_norm(parameters_bar))


def _largest(rows: State) -> Float[Array, ""]:
    """The largest cotangent."""
    largest = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda leaf: jnp.max(abs(leaf), initial=0.0), rows))
    return lax.stop_gradient(largest)


def _augmented(solved: Solved) -> Callable[[Time, Any], Any]:
    """d/dt of (y, a, -gradient of the parameters)."""

    def field(t: Time, z: Any) -> Any:
        y, a, _ = z
        dy, pull = jax.vjp(lambda y, parameters: solved.field_with(parameters)(t, y), y, solved.parameters)
        y_bar, parameters_bar = pull(a)
        return dy, jax.tree.map(jnp.negative, y_bar), jax.tree.map(jnp.negative, parameters_bar)

    return field
