"""Piecewise cubic paths with continuous slopes."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.interpolate.base import Weights
from node_jax.interpolate.between import PathBetweenKnots
from node_jax.interpolate.knots import place_in
from node_jax.types import Time


class CubicHermite(PathBetweenKnots):
    r"""The cubic Hermite spline whose slopes at the knots are backward differences,

        x(t_i) = x_i,        dx/dt(t_i) = (x_i - x_{i-1}) / (t_i - t_{i-1}).

    With θ = (t - t_i) / h, h = t_{i+1} - t_i and r = h / (t_i - t_{i-1}) in t_i <= t < t_{i+1},

        x(t) = x_i + θ (1 - θ)² r (x_i - x_{i-1}) + θ² (2 - θ) (x_{i+1} - x_i).

    Its slope is continuous, which suits an adaptive solver, and it depends on nothing later than t_{i+1}. The slope at
    the first knot is that of the first line. Beyond the ends it is the value there.

    Arguments:
        ts: times of shape (time,), non-decreasing; those of the knots.
        values: array of shape (time, ...) or a pytree of them. NaN is a missing value: on the line through the values
            observed before and after it; at the ends the nearest one.

    Raises:
        ValueError, TypeError: see `nj.interpolate.AbstractPath`.

    The gradient flows to the observed values and to `ts`.

    Reference: Morrill, Kidger, Yang & Lyons (2022), On the Choice of Interpolation Scheme for Neural CDEs,
    arXiv:2106.11028.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> u = nj.interpolate.CubicHermite([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])
        >>> u.evaluate(jnp.array([1.0, 1.5])).tolist(), u.derivative(1.0).tolist()
        ([1.0, 2.25], 1.0)
    """

    offsets: ClassVar[tuple[int, ...]] = (-1, 0, 1)

    @staticmethod
    def weights(knots: Float[Array, " row"], t: Time) -> Weights:
        """Of x_{i-1}, x_i and x_{i+1}: -r b, 1 + r b - g and g with b = θ(1-θ)² and g = θ²(2-θ)."""
        theta, per_time = place_in(knots[1], knots[2], t)
        before = knots[1] - knots[0]
        has_before = before > 0
        ratio = jnp.where(has_before, (knots[2] - knots[1]) / jnp.where(has_before, before, 1), 0)
        start, end = theta * (1 - theta) ** 2, theta**2 * (2 - theta)
        start_slope, end_slope = (1 - theta) * (1 - 3 * theta) * per_time, theta * (4 - 3 * theta) * per_time

        def spread(start: Array, end: Array, own: float) -> tuple[Array, Array, Array]:
            # Without a segment before it, the slope at the start is that of the line ahead.
            end = jnp.where(has_before, end, end + start)
            return -ratio * start, own + ratio * start - end, end

        return Weights(spread(start, end, 1.0), spread(start_slope, end_slope, 0.0))
