"""Any explicit Runge-Kutta method, from its tableau."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from node_jax.advance import tree_advance
from node_jax.interpolate.dense import Polynomial
from node_jax.solvers import tableaus
from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.stages import scanned_stages, unrolled_stages
from node_jax.solvers.tableaus import ButcherTableau
from node_jax.solvers.tableaus_high_order import DOPRI8
from node_jax.tree import rms_norm, tree_weighted_sum, tree_zeros
from node_jax.types import State, Time

_MOST_UNROLLED_STAGES = 8
"""Up to methods of order 5 stages are written out: a loop over them would cost more than it saves."""


class ExplicitRungeKutta(AbstractSolver):
    """The explicit Runge-Kutta method of a `ButcherTableau`.

    Arguments:
        tableau: its coefficients.
        scan_stages: whether the stages run in one loop, which holds the field once in the compiled program and so
            compiles sooner, instead of written out, which runs faster for a small field. `None`: written out up to 8
            stages. Both give the same numbers to rounding.
    """

    tableau: ButcherTableau = eqx.field(static=True)
    scan_stages: bool | None = eqx.field(static=True, default=None)

    @property
    def order(self) -> int:
        """The tableau's order."""
        return self.tableau.order

    @property
    def has_error_estimate(self) -> bool:
        """Whether the tableau has an embedded method."""
        return self.tableau.error is not None

    @property
    def ends_in_slope(self) -> bool:
        """Yes."""
        return True

    @property
    def sees_last_stage(self) -> bool:
        """Whether f(t1, y1) has a weight in the error estimate."""
        return self.tableau.error is not None and self.tableau.error[-1] != 0

    @property
    def runs_stages_in_loop(self) -> bool:
        """What `scan_stages` says; by default for many stages."""
        return len(self.tableau.c) > _MOST_UNROLLED_STAGES if self.scan_stages is None else self.scan_stages

    def num_evals(self, dense: bool) -> int:
        """All stages but the first, which the step before has evaluated; with `dense` those of dense output too."""
        return len(self.tableau.c) - 1 + (len(self.tableau.dense_c) if dense else 0)

    @property
    def bridge(self) -> tuple[Polynomial, ...]:
        """The tableau's dense output."""
        return self.tableau.bridge

    @property
    def last_stage(self) -> int:
        """f(t1, y1), before the stages that only dense output needs."""
        return len(self.tableau.c) - 1

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
        g = tree_advance(z0, dt, self.tableau.a[i - 1], step.stages[:i])
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
        dense: bool | Bool[Array, ""] = True,
        with_slope: bool = True,
    ) -> Step:
        """One step of the tableau; see `AbstractSolver.step`."""
        last = len(self.tableau.c) - 1
        known = () if f0 is None else (f0,)
        if not with_slope and (dense is False or not self.tableau.dense_c):
            return self._without_last_stage(field, t0, dt, z0, known)
        y1, stages = self.extend_stages(field, t0, dt, z0, known, last + 1, wanted=last)
        all_stages = self.with_dense_stages(field, t0, dt, z0, stages, dense)
        return Step(y1, stages[last], all_stages, self.error(dt, stages))

    def with_dense_stages(
        self,
        field: Callable[[Time, State], State],
        t0: Time,
        dt: Time,
        y0: State,
        stages: tuple[State, ...],
        dense: bool | Bool[Array, ""],
    ) -> tuple[State, ...]:
        """`stages` and those that only dense output needs; if `dense` is traced and false, zeros in their place."""
        num_more = len(self.tableau.dense_c)
        if dense is False or not num_more:
            return stages

        def evaluate(stages: tuple[State, ...]) -> tuple[State, ...]:
            return self.extend_stages(field, t0, dt, y0, stages, len(stages) + num_more)[1][-num_more:]

        def skip(stages: tuple[State, ...]) -> tuple[State, ...]:
            return (tree_zeros(stages[0]),) * num_more

        more = evaluate(stages) if dense is True else lax.cond(dense, evaluate, skip, stages)
        return (*stages, *more)

    def _without_last_stage(
        self, field: Callable[[Time, State], State], t0: Time, dt: Time, y0: State, known: tuple[State, ...]
    ) -> Step:
        """A step without the evaluation at its end."""
        weights = self.tableau.a[-1]
        _, stages = self.extend_stages(field, t0, dt, y0, known, len(weights))
        y1 = tree_advance(y0, dt, weights, stages)
        return Step(y1, None, (*stages, None), None)

    def extend_stages(
        self,
        field: Callable[[Time, State], State],
        t0: Time,
        dt: Time,
        y0: State,
        known: Sequence[State],
        count: int,
        wanted: int = 0,
    ) -> tuple[State, tuple[State, ...]]:
        """The first `count` stages of the step, those of dense output last, and the argument of stage `wanted`.

        Arguments:
            field: dy/dt = field(t, y).
            t0: time at the start of the step.
            dt: signed step size.
            y0: state at `t0`.
            known: the first stages, where they are there already.
            count: how many stages are asked for, those of `known` included.
            wanted: the stage whose argument Y_i is returned: one that is not in `known`, or the first, with y0.
        """
        if count == len(known):
            return y0, tuple(known)
        nodes = (*self.tableau.c, *self.tableau.dense_c)[:count]
        rows = ((), *self.tableau.a, *self.tableau.dense_a)[:count]
        evaluate = scanned_stages if self.runs_stages_in_loop else unrolled_stages
        return evaluate(field, t0, dt, y0, known, nodes, rows, wanted)

    def error(self, dt: Time, stages: Sequence[State]) -> State | None:
        """The embedded estimate of the local error, dt Σ_i error_i k_i; `None` without an embedded method."""
        if self.tableau.error is None:
            return None
        combined = tree_weighted_sum(self.tableau.error, stages)
        return tree_weighted_sum((dt,), (combined,))


def Euler(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Euler's method, order 1, 1 evaluation a step, without an error estimate: use it with `nj.ConstantStep`.

    Dense output: cubic Hermite. Reference: Euler (1768).
    """
    return ExplicitRungeKutta(tableaus.EULER, scan_stages)


def Midpoint(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """The explicit midpoint rule, order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Runge (1895).
    """
    return ExplicitRungeKutta(tableaus.MIDPOINT, scan_stages)


def Heun(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Heun's method (explicit trapezoidal rule), order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Heun (1900).
    """
    return ExplicitRungeKutta(tableaus.HEUN, scan_stages)


def Ralston(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Ralston's method, order 2(1), 2 evaluations a step. Dense output: cubic Hermite.

    Reference: Ralston (1962), doi:10.1090/S0025-5718-1962-0150954-0.
    """
    return ExplicitRungeKutta(tableaus.RALSTON, scan_stages)


def Bosh3(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Bogacki and Shampine's method of order 3(2), 3 evaluations a step: for loose tolerances.

    Dense output: cubic Hermite. Reference: Bogacki & Shampine (1989), doi:10.1016/0893-9659(89)90079-7.
    """
    return ExplicitRungeKutta(tableaus.BOSH3, scan_stages)


def Dopri5(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Dormand and Prince's method of order 5(4), 6 evaluations a step; `Tsit5` is usually a little better.

    Dense output of order 4. Reference: Dormand & Prince (1980), doi:10.1016/0771-050X(80)90013-3.
    """
    return ExplicitRungeKutta(tableaus.DOPRI5, scan_stages)


def CashKarp5(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Cash and Karp's method of order 5(4), 6 evaluations a step, of which its error estimate needs none at the end.

    Where the slope at the end of a step is of no use for the next, a step of `Tsit5` takes 7 evaluations, and one of
    this method still 6, of which 4 have a weight: that makes it the method for `nj.BacksolveAdjoint` with many outputs.
    Elsewhere take `Tsit5`. Dense output: cubic Hermite. Reference: Cash & Karp (1990), doi:10.1145/79505.79507.
    """
    return ExplicitRungeKutta(tableaus.CASH_KARP5, scan_stages)


def RK4(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """The classical Runge-Kutta method of order 4, 4 evaluations a step, without an error estimate.

    Use it with `nj.ConstantStep`. Dense output: cubic Hermite, order 3. Reference: Kutta (1901).
    """
    return ExplicitRungeKutta(tableaus.RK4, scan_stages)


def Tsit5(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Tsitouras' method of order 5(4), 6 evaluations a step: the first choice for a field that is not stiff.

    Dense output of order 4. Reference: Tsitouras (2011), doi:10.1016/j.camwa.2011.06.002.
    """
    return ExplicitRungeKutta(tableaus.TSIT5, scan_stages)


def Bosh5(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Bogacki and Shampine's method of order 5(4), 7 evaluations a step: for smooth fields.

    Where accuracy and not stability limits the steps, they are so much longer than those of `Tsit5` that a solve of
    the same error takes about a seventh fewer evaluations. Dense output of order 4. Known as BS5, and as the (4, 5)
    pair of RKSUITE. Reference: Bogacki & Shampine (1996), doi:10.1016/0898-1221(96)00141-1.
    """
    return ExplicitRungeKutta(tableaus.BOSH5, scan_stages)


def Dopri8(*, scan_stages: bool | None = None) -> ExplicitRungeKutta:
    """Prince and Dormand's method of order 8(7), 13 evaluations a step: for tight tolerances in float64.

    Dense output of order 7, for 3 evaluations more in each step that holds an output. Stages run in one loop unless
    `scan_stages=False`. Reference: Prince & Dormand (1981), doi:10.1016/0771-050X(81)90010-3.
    """
    return ExplicitRungeKutta(DOPRI8, scan_stages)
