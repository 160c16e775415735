"""What a time loop needs of a method."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from node_jax.interpolate.dense import Polynomial, horner, horner_derivative
from node_jax.tree import tree_axpy, tree_weighted_sum
from node_jax.types import State, Time


class Step(NamedTuple):
    """The result of one step from (t0, z0) to (t0 + dt, z1)."""

    z1: State
    """The new internal state; `solver.read(z1)` is y1."""
    f1: State | None
    """What the next step takes as its `f0`, for a method that is first same as last; else `None`. It is f(t1, y1) for
    an explicit Runge-Kutta method; others may have evaluated the field at a copy of y1, or only half of it there."""
    stages: tuple[State, ...]
    """The stage derivatives k_i that the dense output needs, one a polynomial in `solver.bridge`; after a step with
    `dense=False` those that only the dense output needs are not there."""
    error: State | None
    """The estimate of the local error of y1, `None` for a method without one."""


class AbstractSolver(eqx.Module):
    """A one-step method with dense output. Its coefficients are static; a loop calls it, it never loops.

    A loop carries the method's internal state z. For most methods that is y itself; a method with a second copy of the
    state, or with memory of the step before, keeps it in z as well.
    """

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """Order of the error of a whole solve: halving dt divides it by 2^order."""

    @property
    @abc.abstractmethod
    def has_error_estimate(self) -> bool:
        """Whether `Step.error` is there, which an adaptive controller needs."""

    @property
    def is_fsal(self) -> bool:
        """First same as last: whether a step takes f0 from the step before, as `Step.f1`."""
        return True

    @abc.abstractmethod
    def num_evals(self, dense: bool) -> int:
        """Field evaluations of one attempted step, given `f0`; with `dense`, what dense output needs beyond it."""

    @property
    @abc.abstractmethod
    def bridge(self) -> tuple[Polynomial, ...]:
        """The polynomials q_i(θ) of the dense output, one a stage (see `node_jax.interpolate.dense`)."""

    def start(self, y0: State) -> State:
        """The internal state z at the start of a solve; `y0` itself unless the method says otherwise."""
        return y0

    def read(self, z: State) -> State:
        """The state y in an internal state z."""
        return z

    def check_state(self, y0: State) -> None:
        """Raise `ValueError` for a state whose structure the method cannot step; called before anything is traced."""
        del y0

    @abc.abstractmethod
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
        """One step.

        Arguments:
            field: dy/dt = field(t, y).
            t0: time at the start of the step.
            dt: signed step size.
            z0: internal state at `t0`.
            f0: `Step.f1` of the step before, or `field(t0, y0)`; `None` lets the method evaluate it.
            dense: whether `interpolate` will be called, for methods that spend evaluations on it alone.
        """

    def interpolate(self, theta: Float[Array, "..."], dt: Time, z0: State, step: Step) -> State:
        """y(t0 + θ dt) from a finished step; `theta` is 0 at its start and 1 at its end."""
        y0, y1 = self.read(z0), self.read(step.z1)
        bump = tree_weighted_sum([horner(q, theta) for q in self.bridge], step.stages)
        line = tree_axpy(theta, tree_weighted_sum((1.0, -1.0), (y1, y0)), y0)
        return tree_axpy(theta * (1 - theta) * dt, bump, line)

    def interpolate_derivative(self, theta: Float[Array, "..."], dt: Time, z0: State, step: Step) -> State:
        """dy/dt of the interpolant at t0 + θ dt, in units of state over time."""
        y0, y1 = self.read(z0), self.read(step.z1)
        weights = [
            (1 - 2 * theta) * horner(q, theta) + theta * (1 - theta) * horner_derivative(q, theta) for q in self.bridge
        ]
        slope = tree_weighted_sum((1 / dt, -1 / dt), (y1, y0))
        bump = tree_weighted_sum(weights, step.stages)
        assert slope is not None
        return tree_axpy(1.0, bump, slope)
