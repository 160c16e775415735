"""Any explicit Runge-Kutta method, from its tableau."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from node_jax.interpolate.dense import Polynomial
from node_jax.solvers import tableaus
from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.tableaus import ButcherTableau
from node_jax.tree import rms_norm, tree_axpy, tree_weighted_sum
from node_jax.types import State, Time


class ExplicitRungeKutta(AbstractSolver):
    """The explicit Runge-Kutta method of a `ButcherTableau`, stages unrolled, zero coefficients skipped."""

    tableau: ButcherTableau = eqx.field(static=True)

    @property
    def order(self) -> int:
        """The tableau's order."""
        return self.tableau.order

    @property
    def has_error_estimate(self) -> bool:
        """Whether the tableau has an embedded method."""
        return self.tableau.error is not None

    def num_evals(self, dense: bool) -> int:
        """All stages but the first, which the step before has evaluated."""
        del dense
        return len(self.tableau.c) - 1

    @property
    def bridge(self) -> tuple[Polynomial, ...]:
        """The tableau's dense output."""
        return self.tableau.bridge

    @property
    def _stage_at_end(self) -> int | None:
        """The last stage before f(t1, y1) whose node is 1 as well, which has another state at the same time."""
        c = self.tableau.c
        at_end = [i for i in range(1, len(c) - 1) if c[i] == 1.0]
        return at_end[-1] if at_end else None

    @property
    def has_stiffness_estimate(self) -> bool:
        """Whether two stages evaluate the field at t1, at different states."""
        return self._stage_at_end is not None

    def stiffness(self, dt: Time, z0: State, step: Step) -> Time:
        """‖k_last - k_i‖ / ‖y1 - g_i‖ for a stage k_i = f(t1, g_i); Shampine (1977), doi:10.1145/355732.355736."""
        i = self._stage_at_end
        assert i is not None
        g = tree_axpy(dt, tree_weighted_sum(self.tableau.a[i - 1], step.stages[:i]), z0)
        slopes = tree_weighted_sum((1.0, -1.0), (step.stages[self.last_stage], step.stages[i]))
        states = tree_weighted_sum((1.0, -1.0), (step.z1, g))
        assert slopes is not None
        assert states is not None
        distance = rms_norm(states)
        is_zero = distance == 0
        return jnp.where(is_zero, 0.0, rms_norm(slopes) / jnp.where(is_zero, 1.0, distance)).astype(dt.dtype)

    def step(
        self,
        field: Callable[[Time, State], State],
        t0: Time,
        dt: Time,
        z0: State,
        f0: State | None,
        *,
        dense: bool = True,
    ) -> Step:
        """One step of the tableau; see `AbstractSolver.step`."""
        del dense
        stages = [field(t0, z0) if f0 is None else f0]
        y1 = z0
        for c, row in zip(self.tableau.c[1:], self.tableau.a, strict=True):
            y1 = tree_axpy(dt, tree_weighted_sum(row, stages), z0)
            stages.append(field(t0 + c * dt, y1))
        error = None
        if self.tableau.error is not None:
            combined = tree_weighted_sum(self.tableau.error, stages)
            error = tree_weighted_sum((dt,), (combined,))
        return Step(y1, stages[-1], tuple(stages), error)


def Euler() -> ExplicitRungeKutta:
    """Euler's method, order 1, 1 evaluation a step, without an error estimate: use it with `nj.ConstantStep`.

    Dense output: cubic Hermite. Reference: Euler (1768).
    """
    return ExplicitRungeKutta(tableaus.EULER)


def Midpoint() -> ExplicitRungeKutta:
    """The explicit midpoint rule, order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Runge (1895).
    """
    return ExplicitRungeKutta(tableaus.MIDPOINT)


def Heun() -> ExplicitRungeKutta:
    """Heun's method (explicit trapezoidal rule), order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Heun (1900).
    """
    return ExplicitRungeKutta(tableaus.HEUN)


def Ralston() -> ExplicitRungeKutta:
    """Ralston's method, order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Ralston (1962), doi:10.1090/S0025-5718-1962-0150954-0.
    """
    return ExplicitRungeKutta(tableaus.RALSTON)


def Bosh3() -> ExplicitRungeKutta:
    """Bogacki and Shampine's method of order 3(2), 3 evaluations a step: for loose tolerances.

    Dense output: cubic Hermite. Reference: Bogacki & Shampine (1989), doi:10.1016/0893-9659(89)90079-7.
    """
    return ExplicitRungeKutta(tableaus.BOSH3)


def Dopri5() -> ExplicitRungeKutta:
    """Dormand and Prince's method of order 5(4), 6 evaluations a step; `Tsit5` is usually a little better.

    Dense output of order 4. Reference: Dormand & Prince (1980), doi:10.1016/0771-050X(80)90013-3.
    """
    return ExplicitRungeKutta(tableaus.DOPRI5)


def RK4() -> ExplicitRungeKutta:
    """The classical Runge-Kutta method of order 4, 4 evaluations a step, without an error estimate.

    Use it with `nj.ConstantStep`. Dense output: cubic Hermite, order 3. Reference: Kutta (1901).
    """
    return ExplicitRungeKutta(tableaus.RK4)


def Tsit5() -> ExplicitRungeKutta:
    """Tsitouras' method of order 5(4), 6 evaluations a step: the first choice for a field that is not stiff.

    Dense output of order 4. Reference: Tsitouras (2011), doi:10.1016/j.camwa.2011.06.002.
    """
    return ExplicitRungeKutta(tableaus.TSIT5)
