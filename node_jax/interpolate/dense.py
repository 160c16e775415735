r"""Dense output of one Runge-Kutta step, exact at both ends.

Every continuous extension  y(θ) = y0 + dt Σ_i b_i(θ) k_i  with b_i(0) = 0 and b_i(1) = b_i can be written as

    y(θ) = y0 + θ (y1 - y0) + θ (1 - θ) dt Σ_i q_i(θ) k_i,        q_i(θ) = (b_i(θ)/θ - b_i) / (1 - θ).

The second form meets y0 and y1 whatever the rounding of the q_i, which matters in float32, and at θ = 1 it needs no
stage at all. Methods differ in the polynomials q_i alone, so these are data of the tableau.

Over several steps a solution is a `DensePath`: for each step the values at both ends and the coefficients
C_p = dt Σ_i q_ip k_i of the powers of θ, which are fewer than the stages.
"""

from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.tree import tree_take
from node_jax.types import State, Time

Polynomial: TypeAlias = tuple[float, ...]
"""Coefficients in rising powers: `(c0, c1, c2)` is c0 + c1 θ + c2 θ²."""


def bridge_polynomials(extension: Sequence[Polynomial], weights: Sequence[float]) -> tuple[Polynomial, ...]:
    """The q_i of a published continuous extension b_i(θ).

    Arguments:
        extension: the b_i(θ), one polynomial a stage, each without a constant term.
        weights: the weights b_i of the step.

    Returns:
        One polynomial q_i a stage, of two degrees less.
    """
    bridges: list[Polynomial] = []
    for polynomial, weight in zip(extension, weights, strict=True):
        over_theta = np.asarray(polynomial[1:], np.float64)
        over_theta[0] -= weight
        quotient = np.asarray(np.polynomial.polynomial.polydiv(over_theta, np.array([1.0, -1.0]))[0])
        bridges.append(tuple(float(c) for c in quotient.tolist()))
    return tuple(bridges)


def hermite_bridge(weights: Sequence[float]) -> tuple[Polynomial, ...]:
    """The q_i of the cubic Hermite interpolant, for a tableau whose last stage is f(t1, y1).

    From Hairer, Norsett & Wanner (1993), II.6, eq. 6.7:
    y(θ) = (1-θ) y0 + θ y1 + θ(θ-1) [(1-2θ)(y1-y0) + (θ-1) dt k_first + θ dt k_last].
    """
    bridges = [[-weight, 2.0 * weight] for weight in weights]
    bridges[0] = [bridges[0][0] + 1.0, bridges[0][1] - 1.0]
    bridges[-1] = [bridges[-1][0], bridges[-1][1] - 1.0]
    return tuple((c0, c1) for c0, c1 in bridges)


class DensePath(eqx.Module):
    """A solution over consecutive steps, as a polynomial in each.

    With θ = (t - times[n]) / (times[n+1] - times[n]) in step n,

        y(t) = (1 - θ) y_n + θ y_{n+1} + θ (1 - θ) Σ_p C_p θ^p,

    where node n + 1 holds y_{n+1} and the C_p of the step that ends there. One buffer for both is written and read in
    one operation, which is what a loop over a small state is made of.
    """

    times: Float[Array, " node"]
    """Ends of the steps in the order of the solve; unused ones at the end are infinite in its direction, or NaN in a
    path that a loop still writes."""
    nodes: State
    """Leaves of shape (node, 1 + power, ...): y, and the coefficients of the step before it."""
    num_powers: int = eqx.field(static=True)

    def locate(self, t: Float[Array, " query"], direction: Time) -> tuple[Int[Array, " query"], Float[Array, " query"]]:
        """The step in which each time lies (the earlier of two at a node), and θ there.

        A time at or before the first node is in the first step; of one beyond the last used node nothing is promised.
        Through θ a gradient flows to `t` and to a shift of the whole grid, not to the length of a step.
        """
        is_beyond = (self.times[1:] * direction)[None, :] < (t * direction)[:, None]
        step = jnp.minimum(jnp.sum(is_beyond, axis=1, dtype=jnp.int32), self.times.shape[0] - 2)
        t0, t1 = tree_take(self.times, step), tree_take(self.times, step + 1)
        dt = lax.stop_gradient(t1 - t0)
        has_length = jnp.isfinite(dt) & (dt != 0)
        return step, jnp.where(has_length, (t - t0) / jnp.where(has_length, dt, 1), 0)

    def evaluate(self, t: Float[Array, " query"], direction: Time) -> State:
        """y at each time; leaves have a leading axis of queries."""
        step, theta = self.locate(t, direction)
        return self.read(step, self.weights(theta))

    def weights(self, theta: Float[Array, " query"]) -> tuple[Float[Array, " query"], ...]:
        """The weights in y, at these places of a step, of its start, its end and its coefficients."""
        return 1 - theta, theta, *self.powers(theta)

    def derivative(self, t: Float[Array, " query"], direction: Time) -> State:
        """dy/dt of the interpolant at each time, in units of state over time."""
        return self.read(*self.slope_weights(t, direction))

    def slope_weights(
        self, t: Float[Array, " query"], direction: Time
    ) -> tuple[Int[Array, " query"], tuple[Float[Array, " query"], ...]]:
        """As `weights`, of dy/dt."""
        step, theta = self.locate(t, direction)
        dt = tree_take(self.times, step + 1) - tree_take(self.times, step)
        has_length = jnp.isfinite(dt) & (dt != 0)
        per_time = jnp.where(has_length, 1 / jnp.where(has_length, dt, 1), 0)
        slopes = [theta**p * (p + 1 - (p + 2) * theta) for p in range(self.num_powers)]
        return step, (-per_time, per_time, *(slope * per_time for slope in slopes))

    def powers(self, theta: Float[Array, " query"]) -> tuple[Float[Array, " query"], ...]:
        """The weights θ^(p+1) (1 - θ) of the coefficients."""
        powers = [theta * (1 - theta)]
        while len(powers) < self.num_powers:
            powers.append(powers[-1] * theta)
        return tuple(powers[: self.num_powers])

    def read(self, step: Int[Array, " query"], weights: tuple[Array, ...]) -> State:
        """The weighted sums of starts, ends and coefficients of steps; leaves have a leading axis of queries."""

        def combine(nodes: Array) -> Array:
            end = tree_take(nodes, step + 1)
            parts = (tree_take(nodes[:, 0], step), *(end[:, i] for i in range(1 + self.num_powers)))
            scaled = [
                weight.reshape(-1, *[1] * (part.ndim - 1)).astype(part.dtype) * part
                for weight, part in zip(weights, parts, strict=True)
            ]
            return reduce(jnp.add, scaled)

        return jax.tree.map(combine, self.nodes)
