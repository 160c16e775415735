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
    """The result of one step from (t0, y0) to (t0 + dt, y1)."""

    y1: State
    """The new state."""
    stages: tuple[State, ...]
    """The stage derivatives k_i; the last is f(t0 + dt, y1)."""
    error: State | None
    """The estimate of the local error, `None` for a method without one."""


class AbstractSolver(eqx.Module):
    """A one-step method with dense output. Its coefficients are static; a loop calls it, it never loops."""

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """Order of the error of a whole solve: halving dt divides it by 2^order."""

    @property
    @abc.abstractmethod
    def has_error_estimate(self) -> bool:
        """Whether `Step.error` is there, which an adaptive controller needs."""

    @property
    @abc.abstractmethod
    def num_evals_per_step(self) -> int:
        """Field evaluations of one attempted step, given the first stage."""

    @property
    @abc.abstractmethod
    def bridge(self) -> tuple[Polynomial, ...]:
        """The polynomials q_i(θ) of the dense output, one a stage (see `node_jax.interpolate.dense`)."""

    @abc.abstractmethod
    def step(self, field: Callable[[Time, State], State], t0: Time, dt: Time, y0: State, f0: State | None) -> Step:
        """One step.

        Arguments:
            field: dy/dt = field(t, y).
            t0: time at the start of the step.
            dt: signed step size.
            y0: state at `t0`.
            f0: `field(t0, y0)` if it is known, else `None`.
        """

    def interpolate(self, theta: Float[Array, "..."], dt: Time, y0: State, step: Step) -> State:
        """y(t0 + θ dt) from a finished step; `theta` is 0 at its start and 1 at its end."""
        bump = tree_weighted_sum([horner(q, theta) for q in self.bridge], step.stages)
        line = tree_axpy(theta, tree_weighted_sum((1.0, -1.0), (step.y1, y0)), y0)
        return tree_axpy(theta * (1 - theta) * dt, bump, line)

    def interpolate_derivative(self, theta: Float[Array, "..."], dt: Time, y0: State, step: Step) -> State:
        """dy/dt of the interpolant at t0 + θ dt, in units of state over time."""
        weights = [
            (1 - 2 * theta) * horner(q, theta) + theta * (1 - theta) * horner_derivative(q, theta) for q in self.bridge
        ]
        slope = tree_weighted_sum((1 / dt, -1 / dt), (step.y1, y0))
        bump = tree_weighted_sum(weights, step.stages)
        assert slope is not None
        return tree_axpy(1.0, bump, slope)
