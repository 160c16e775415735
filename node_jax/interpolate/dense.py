r"""Dense output of one step of a method: a polynomial that meets the state and the field at both ends.

Every continuous extension  y(θ) = y0 + dt Σ_i b_i(θ) k_i  that does so can be written as the cubic Hermite interpolant
(Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, II.6), with h(θ) = θ² (3 - 2θ), and a rest:

    y(θ) = (1 - h(θ)) y0 + h(θ) y1 + θ (1 - θ)² dt k_first - θ² (1 - θ) dt k_last + θ² (1 - θ)² dt Σ_i q_i(θ) k_i,

    q_i(θ) = (b_i(θ) - h(θ) b_i - θ (1 - θ)² [i is first] + θ² (1 - θ) [i is last]) / (θ² (1 - θ)²).

This form meets both ends whatever the rounding of the q_i, which matters in float32, and takes one stage each for most
of its parts. Methods differ in the polynomials q_i alone, so these are data of the tableau.

Over several steps a solution is a `DensePath`: for each step the values at both ends and the coefficients dt k_first,
dt k_last and C_p = dt Σ_i q_ip k_i of the powers of θ, which are fewer than the stages.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from node_jax.tree import tree_take, tree_where_rows
from node_jax.types import State, Time

Polynomial: TypeAlias = tuple[float, ...]
"""Coefficients in rising powers: `(c0, c1, c2)` is c0 + c1 θ + c2 θ²."""


_LARGEST_REST = 1e-9
"""Published digits are meant to meet the ends to about this."""


def bridge_polynomials(
    extension: Sequence[Polynomial], weights: Sequence[float], last: int | None = None
) -> tuple[Polynomial, ...]:
    """The q_i of a published continuous extension b_i(θ).

    Arguments:
        extension: the b_i(θ), one polynomial a stage, each without a constant term.
        weights: the weights b_i of the step, one a stage.
        last: which stage is f(t1, y1); the last one by default.

    Returns:
        One polynomial q_i a stage, of four degrees less.

    Raises:
        ValueError: if the extension does not meet the field at both ends of a step.
    """
    last = len(weights) - 1 if last is None else last
    divisor = np.polynomial.Polynomial([0.0, 0.0, 1.0, -2.0, 1.0])
    bridges: list[Polynomial] = []
    for i, (polynomial, weight) in enumerate(zip(extension, weights, strict=True)):
        hermite = np.array([0.0, 0.0, 3.0, -2.0]) * weight
        hermite += np.array([0.0, 1.0, -2.0, 1.0]) * (i == 0) + np.array([0.0, 0.0, -1.0, 1.0]) * (i == last)
        quotient, rest = divmod(np.polynomial.Polynomial(polynomial) - np.polynomial.Polynomial(hermite), divisor)
        if not np.max(np.abs(rest.coef)) <= _LARGEST_REST:
            raise ValueError(
                f"A continuous extension must meet the field at both ends of a step, but b_{i}(θ) = {polynomial} does "
                f"not: b(0) = 0, b(1) = {weight}, b'(0) = {float(i == 0)} and b'(1) = {float(i == last)} are asked for."
            )
        bridges.append(tuple(float(c) for c in quotient.coef.tolist()))
    return tuple(bridges)


class DensePath(eqx.Module):
    """A solution over consecutive steps, as a polynomial in each.

    With θ = (t - times[n]) / (times[n+1] - times[n]) in step n,

        y(t) = (1 - h) y_n + h y_{n+1} + θ (1 - θ)² F_n - θ² (1 - θ) G_n + θ² (1 - θ)² Σ_p C_np θ^p,

    where h = θ² (3 - 2θ), and F_n and G_n are the slopes at the start and the end of the step, times its length. Node
    n + 1 holds y_{n+1} and the coefficients F, G and C_p of the step that ends there. One buffer for all is written and
    read in one operation, which is what a loop over a small state is made of.
    """

    times: Float[Array, " node"]
    """Ends of the steps in the order of the solve; unused ones at the end are infinite in its direction, or the end of
    the solve in a path that a loop still writes."""
    nodes: State
    """Leaves of shape (node, 1 + coefficient, ...): y, and the coefficients of the step before it."""
    num_coefficients: int = eqx.field(static=True)

    def locate(
        self, t: Float[Array, " query"], direction: Time, *, skips_empty: bool = False
    ) -> tuple[Int[Array, " query"], Float[Array, " query"]]:
        """The step in which each time lies (the earlier of two at a node), and θ there.

        A time at or before the first node is in the first step, with `skips_empty` in the first that has a length: a
        jump has none, nor under `jax.vmap` a step of other lanes. Of a time beyond the last used node nothing is
        promised. Through θ a gradient flows to `t` and to a shift of the whole grid, not to the length of a step.
        """
        is_beyond = (self.times[1:] * direction)[None, :] < (t * direction)[:, None]
        if skips_empty:
            is_beyond |= (self.times[1:] == self.times[0])[None, :]
        step = jnp.minimum(jnp.sum(is_beyond, axis=1, dtype=jnp.int32), self.times.shape[0] - 2)
        t0, t1 = tree_take(self.times, step), tree_take(self.times, step + 1)
        dt = lax.stop_gradient(t1 - t0)
        has_length = jnp.isfinite(dt) & (dt != 0)
        theta = (t - t0) / tree_where_rows(has_length, dt, 1)
        return step, tree_where_rows(has_length, theta, 0)

    def evaluate(self, t: Float[Array, " query"], direction: Time) -> State:
        """y at each time; leaves have a leading axis of queries."""
        step, theta = self.locate(t, direction)
        return self.read(step, self.weights(theta))

    def weights(self, theta: Float[Array, " query"]) -> tuple[Float[Array, " query"], ...]:
        """The weights in y, at these places of a step, of its start, its end and its coefficients."""
        bump = theta * (1 - theta)
        at_start, at_end = bump * (1 - theta), -bump * theta
        rise = theta - at_start - at_end
        return 1 - rise, rise, at_start, at_end, *self._times_powers(bump * bump, theta)

    def evaluate_whole(self, t: Float[Array, " query"], direction: Time) -> State:
        """As `evaluate`, of a whole solve, whose first steps may have no length.

        At the first node that is y there, before a jump; its gradient for `t` is the slope of the first step that has
        one.
        """
        step, theta = self.locate(t, direction, skips_empty=True)
        at_start, *others = self.weights(theta)
        values, changes = self.read(step, (at_start, *others)), self.read(step, (at_start - 1, *others))
        from_first = jax.tree.map(lambda nodes, change: nodes[0, 0] + change, self.nodes, changes)
        return tree_where_rows(t == self.times[0], from_first, values)

    def derivative(self, t: Float[Array, " query"], direction: Time) -> State:
        """dy/dt of the interpolant of a whole solve at each time, in units of state over time; NaN if no step has a
        length.
        """
        return self.read(*self.slope_weights(t, direction, skips_empty=True))

    def slope_weights(
        self, t: Float[Array, " query"], direction: Time, *, skips_empty: bool = False
    ) -> tuple[Int[Array, " query"], tuple[Float[Array, " query"], ...]]:
        """The step, and as `weights` those of dy/dt: for a step of no length zero, with `skips_empty` NaN."""
        step, theta = self.locate(t, direction, skips_empty=skips_empty)
        dt = tree_take(self.times, step + 1) - tree_take(self.times, step)
        has_length = jnp.isfinite(dt) & (dt != 0)
        per_time = tree_where_rows(has_length, 1 / tree_where_rows(has_length, dt, 1), math.nan if skips_empty else 0)
        rise = 6 * theta * (1 - theta)
        at_start, at_end = (1 - theta) * (1 - 3 * theta), theta * (3 * theta - 2)
        bumps = self._times_powers(theta * (1 - theta), theta)
        bridges = [bump * (p + 2 - (p + 4) * theta) for p, bump in enumerate(bumps)]
        return step, tuple(weight * per_time for weight in (-rise, rise, at_start, at_end, *bridges))

    def _times_powers(self, factor: Array, theta: Array) -> list[Array]:
        """`factor`, and its products with powers of θ: as many as there are C_p."""
        terms = [factor]
        while len(terms) < self.num_coefficients - 2:
            terms.append(terms[-1] * theta)
        return terms[: self.num_coefficients - 2]

    def read(self, step: Int[Array, " query"], weights: tuple[Array, ...]) -> State:
        """The weighted sums of starts, ends and coefficients of steps; leaves have a leading axis of queries."""

        def combine(nodes: Array) -> Array:
            end = tree_take(nodes, step + 1)
            ends = (lax.index_in_dim(end, i, axis=1, keepdims=False) for i in range(1 + self.num_coefficients))
            parts = (tree_take(nodes[:, 0], step), *ends)
            scaled = [
                weight.reshape(-1, *[1] * (part.ndim - 1)).astype(part.dtype) * part
                for weight, part in zip(weights, parts, strict=True)
            ]
            return reduce(lax.add, scaled)

        return jax.tree.map(combine, self.nodes)
