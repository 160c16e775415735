"""Symplectic methods for mechanical systems: the energy error stays bounded over any number of steps.

The state is a pair (q, p) of positions and momenta, and the system is separable: dq/dt = v(t, p), dp/dt = F(t, q). The
field gives both halves, field(t, (q, p)) -> (v, F). A method needs v where q is not yet known, and F where p is not, so
that it calls the field with a stand-in for the other half. A field that is not separable, where v depends on q or F on
p, breaks order and symplecticity without a warning: use an `ExplicitRungeKutta` method there.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from node_jax.solvers.base import Step
from node_jax.solvers.reversible import AbstractReversibleSolver
from node_jax.tree import tree_axpy, tree_layout
from node_jax.types import State, Time


class AbstractSymplecticSolver(AbstractReversibleSolver):
    """What the symplectic methods share: a pair as state, 2 evaluations a step, cubic Hermite, no error estimate."""

    @property
    def has_error_estimate(self) -> bool:
        """No: steps of equal size are what keeps the energy error bounded."""
        return False

    @property
    def is_slope_exact(self) -> bool:
        """No: half of the slope at the end is evaluated at a stand-in, which the next step does not use."""
        return False

    @property
    def is_plain(self) -> bool:
        """No: the state must be a pair."""
        return False

    def num_evals(self, dense: bool) -> int:
        """Two: every call of the field counts, although the step uses one half of its result alone."""
        del dense
        return 2

    def check_state(self, y0: State) -> None:
        """Raise `ValueError` for a state that is not a pair (q, p) of halves with equal structure and shapes."""
        if isinstance(y0, tuple) and len(y0) == 2 and tree_layout(y0[0]) == tree_layout(y0[1]):
            return
        raise ValueError(
            f"{type(self).__name__} expects a state that is a pair (q, p) of positions and momenta with equal "
            f"structure and shapes, but got the shapes {jax.tree.map(jnp.shape, y0)}. Split the state, for example "
            "y0 = (q0, p0), and let the field return (dq/dt, dp/dt); for other systems use nj.Tsit5()."
        )


class SemiImplicitEuler(AbstractSymplecticSolver):
    """The semi-implicit (symplectic) Euler method, order 1, 2 evaluations a step. Use it with `nj.ConstantStep`.

        p1 = p0 + dt F(t0, q0),    q1 = q0 + dt v(t1, p1)

    Dense output: cubic Hermite. Reference: Hairer, Lubich & Wanner (2006), Geometric Numerical Integration, I.1.2.
    """

    @property
    def order(self) -> int:
        """Order 1."""
        return 1

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
        q0, p0 = z0
        f0 = field(t0, z0) if f0 is None else f0
        force = f0[1]
        p1 = tree_axpy(dt, force, p0)
        velocity, _ = field(t0 + dt, (q0, p1))
        z1 = (tree_axpy(dt, velocity, q0), p1)
        f1 = field(t0 + dt, z1)
        return Step(z1, f1, (f0, f1), None)

    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """The step's two equations in reverse; see `AbstractReversibleSolver.step_back`."""
        q1, p1 = z1
        velocity, _ = field(t1, z1) if f1 is None else f1
        q0 = tree_axpy(-dt, velocity, q1)
        _, force = field(t1 - dt, (q0, p1))
        z0 = (q0, tree_axpy(-dt, force, p1))
        return z0, field(t1 - dt, z0)


class StormerVerlet(AbstractSymplecticSolver):
    """The Störmer-Verlet method (kick, drift, kick), order 2, 2 evaluations a step. Use it with `nj.ConstantStep`.

        p½ = p0 + dt/2 F(t0, q0),    q1 = q0 + dt v(t½, p½),    p1 = p½ + dt/2 F(t1, q1)

    Dense output of order 2: cubic Hermite with the slope v(t1, p0 + dt F(t0, q0)), which costs nothing, for v(t1, p1).
    Reference: Hairer, Lubich & Wanner (2003), doi:10.1017/S0962492902000144.
    """

    @property
    def order(self) -> int:
        """Order 2."""
        return 2

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
        q0, p0 = z0
        f0 = field(t0, z0) if f0 is None else f0
        half = tree_axpy(dt / 2, f0[1], p0)
        velocity, _ = field(t0 + dt / 2, (q0, half))
        q1 = tree_axpy(dt, velocity, q0)
        # The force needs no momentum, so that the call can give the velocity at a momentum of first order as well.
        f1 = field(t0 + dt, (q1, tree_axpy(dt, f0[1], p0)))
        p1 = tree_axpy(dt / 2, f1[1], half)
        return Step((q1, p1), f1, (f0, f1), None)

    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """The step of size -dt: the method is symmetric in time; see `AbstractReversibleSolver.step_back`."""
        back = self.step(field, t1, -dt, z1, f1)
        return back.z1, back.f1


class LeapfrogMidpoint(AbstractSymplecticSolver):
    """The leapfrog method with the force at the midpoint (drift, kick, drift), order 2, 2 evaluations a step.

        q½ = q0 + dt/2 v(t0, p0),    p1 = p0 + dt F(t½, q½),    q1 = q½ + dt/2 v(t1, p1)

    Use it with `nj.ConstantStep`. Dense output of order 2: cubic Hermite with the slope F(t1, q0 + dt v(t0, p0)), which
    costs nothing, for F(t1, q1). Reference: Hairer, Lubich & Wanner (2003), doi:10.1017/S0962492902000144.
    """

    @property
    def order(self) -> int:
        """Order 2."""
        return 2

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
        q0, p0 = z0
        f0 = field(t0, z0) if f0 is None else f0
        half = tree_axpy(dt / 2, f0[0], q0)
        _, force = field(t0 + dt / 2, (half, p0))
        p1 = tree_axpy(dt, force, p0)
        # The velocity needs no position, so that the call can give the force at a position of first order as well.
        f1 = field(t0 + dt, (tree_axpy(dt, f0[0], q0), p1))
        q1 = tree_axpy(dt / 2, f1[0], half)
        return Step((q1, p1), f1, (f0, f1), None)

    def step_back(
        self,
        field: Callable[[Time, State], State],
        t1: Time,
        dt: Time,
        z1: State,
        f1: State | None,
    ) -> tuple[State, State | None]:
        """The step of size -dt: the method is symmetric in time; see `AbstractReversibleSolver.step_back`."""
        back = self.step(field, t1, -dt, z1, f1)
        return back.z1, back.f1
