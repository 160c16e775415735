"""Methods whose steps can be undone exactly, so that a gradient needs no stored states."""

import abc
from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Bool

from node_jax.advance import tree_advance
from node_jax.interpolate.dense import Polynomial
from node_jax.solvers.base import AbstractSolver, Step
from node_jax.solvers.runge_kutta import ExplicitRungeKutta
from node_jax.tree import tree_axpy, tree_weighted_sum
from node_jax.types import State, Time


class AbstractReversibleSolver(AbstractSolver):
    """A method with an algebraic inverse of its step: the same numbers as forward, to rounding."""

    @abc.abstractmethod
    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """Undo the step that led from t1 - dt to `t1`.

        Arguments:
            field: dy/dt = field(t, y).
            t1: time at the end of the step.
            dt: signed size of the step as it was taken forward.
            z1: internal state at `t1`.
            f1: `Step.f1` of that step, or the second result of the call before; `None` lets the method evaluate it.

        Returns:
            The internal state z0 at the start of the step, and what the step took as its `f0`: the `f1` of the next
            call, `None` for a method that is not first same as last.
        """


class ReversibleHeun(AbstractReversibleSolver):
    """The reversible Heun method, order 2(1), 1 evaluation a step, with a second copy ŷ of the state.

        ŷ1 = 2 y0 - ŷ0 + dt f(t0, ŷ0),    y1 = y0 + dt/2 (f(t0, ŷ0) + f(t1, ŷ1))

    The error estimate is the difference to Euler's step, dt/2 (f(t1, ŷ1) - f(t0, ŷ0)). Dense output of order 2: cubic
    Hermite with the slopes at ŷ. The region of absolute stability is the segment [-i, i] of the imaginary axis: for a
    dissipative field the copies decouple in a long solve, which `gap` shows.

    Reference: Kidger, Foster, Li & Lyons (2021), arXiv:2105.13493.
    """

    @property
    def order(self) -> int:
        """Order 2."""
        return 2

    @property
    def has_error_estimate(self) -> bool:
        """The difference to Euler's step."""
        return True

    def num_evals(self, dense: bool) -> int:
        """One: f(t1, ŷ1)."""
        del dense
        return 1

    def start(self, y0: State) -> State:
        """Both copies are `y0`."""
        return y0, y0

    def read(self, z: State) -> State:
        """The first copy."""
        return z[0]

    @property
    def is_plain(self) -> bool:
        """No: there are two copies of the state."""
        return False

    def slope(self, field: Callable[[Time, State], State], t: Time, z: State) -> State:
        """f(t, ŷ)."""
        return field(t, z[1])

    def gap(self, z: State) -> State | None:
        """y - ŷ."""
        return tree_weighted_sum((1.0, -1.0), z)

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
        """One step; see `AbstractSolver.step`."""
        del dense, with_slope
        y0, hat0 = z0
        f0 = field(t0, hat0) if f0 is None else f0
        hat1 = tree_axpy(dt, f0, tree_weighted_sum((2.0, -1.0), (y0, hat0)))
        f1 = field(t0 + dt, hat1)
        y1 = tree_advance(y0, dt / 2, (1.0, 1.0), (f0, f1))
        error = tree_weighted_sum((-dt / 2, dt / 2), (f0, f1))
        return Step((y1, hat1), f1, (f0, f1), error)

    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """The step of size -dt, which is the inverse; see `AbstractReversibleSolver.step_back`."""
        back = self.step(field, t1, -dt, z1, f1)
        return back.z1, back.f1


class Reversible(AbstractReversibleSolver):
    """An explicit Runge-Kutta method made reversible by a second copy v of the state; order and estimate stay.

        y1 = c y0 + (1 - c) v0 + Ψ_dt(t0, v0),    v1 = v0 - Ψ_-dt(t1, y1)

    Ψ_dt(t, y) is the increment of one step of the method. A step takes twice the method's evaluations, and keeps its
    order and the order of its dense output.

    Caveat: what can be undone cannot forget. A step changes volumes in (y, v) by the factor c alone, so that along an
    eigenvalue λ of the field's Jacobian, where y goes by exp(λ dt), the difference of the copies goes by c exp(-λ dt):
    it grows in a dissipative field with |λ| dt > -log(c), from rounding to the size of the state in a long enough
    solve, which `gap` shows. A smaller c allows for more; a step back amplifies rounding errors by up to 1/c in turn.

    Arguments:
        solver: the method.
        coupling: c, above 0 and up to 1.

    Reference: McCallum & Foster (2024), arXiv:2410.11648.
    """

    solver: ExplicitRungeKutta
    coupling: float = eqx.field(static=True, default=0.999)

    def __check_init__(self) -> None:
        if not isinstance(self.solver, ExplicitRungeKutta):
            raise TypeError(
                f"Reversible expects an explicit Runge-Kutta method, for example nj.Reversible(nj.Tsit5()), but got "
                f"{self.solver!r}."
            )
        if not 0.0 < self.coupling <= 1.0:
            raise ValueError(
                f"Reversible expects a coupling above 0 and up to 1, but got {self.coupling}; the usual one is 0.999."
            )

    @property
    def order(self) -> int:
        """The method's order."""
        return self.solver.order

    @property
    def has_error_estimate(self) -> bool:
        """Whether the method has an embedded one."""
        return self.solver.has_error_estimate

    @property
    def is_fsal(self) -> bool:
        """No: the next step starts at v1, where the field has not been evaluated."""
        return False

    def num_evals(self, dense: bool) -> int:
        """The method's own in either direction, and those of its dense output."""
        return self.solver.num_evals(dense) + self.solver.num_evals(False)

    @property
    def bridge(self) -> tuple[Polynomial, ...]:
        """The method's dense output; its stages are those of Ψ_dt(t0, v0), then f(t1, y1)."""
        return self.solver.bridge

    @property
    def last_stage(self) -> int:
        """The method's own last stage, before those that only dense output needs."""
        return self.solver.last_stage

    def start(self, y0: State) -> State:
        """Both copies are `y0`."""
        return y0, y0

    def read(self, z: State) -> State:
        """The first copy."""
        return z[0]

    @property
    def is_plain(self) -> bool:
        """No: there are two copies of the state."""
        return False

    def gap(self, z: State) -> State | None:
        """y - v."""
        return tree_weighted_sum((1.0, -1.0), z)

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
        """One step; see `AbstractSolver.step`."""
        del f0, with_slope
        y0, v0 = z0
        t1 = t0 + dt
        forward, stages = self._increment(field, t0, dt, v0)
        mixed = tree_weighted_sum((self.coupling, 1.0 - self.coupling), (y0, v0))
        y1 = tree_axpy(1.0, forward, mixed)
        backward, stages_back = self._increment(field, t1, -dt, y1)
        v1 = tree_axpy(-1.0, backward, v0)
        # f(t1, y1) stands for the method's own last stage f(t1, v0 + Ψ_dt): they differ by the gap of the copies, which
        # is of the order of the global error, and enter the values times dt.
        stages = (*stages, stages_back[0])
        error = self.solver.error(dt, stages)
        return Step((y1, v1), None, self.solver.with_dense_stages(field, t0, dt, v0, stages, dense), error)

    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """v0 = v1 + Ψ_-dt(t1, y1), then y0 from the step's first equation; see `AbstractReversibleSolver.step_back`."""
        del f1
        y1, v1 = z1
        backward, _ = self._increment(field, t1, -dt, y1)
        v0 = tree_axpy(1.0, backward, v1)
        forward, _ = self._increment(field, t1 - dt, dt, v0)
        rest = tree_axpy(-1.0, forward, y1)
        y0 = tree_weighted_sum((1 / self.coupling, 1.0 - 1 / self.coupling), (rest, v0))
        assert y0 is not None
        return (y0, v0), None

    def _increment(
        self, field: Callable[[Time, State], State], t: Time, dt: Time, y: State
    ) -> tuple[State | None, tuple[State, ...]]:
        """Ψ_dt(t, y) and the stages that it is made of: all but the last, f(t1, y + Ψ_dt), which it does not use."""
        weights = self.solver.tableau.a[-1]
        _, stages = self.solver.extend_stages(field, t, dt, y, (), len(weights))
        return tree_weighted_sum((dt,), (tree_weighted_sum(weights, stages),)), stages
