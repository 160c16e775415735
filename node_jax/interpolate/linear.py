"""Piecewise linear paths."""

from typing import ClassVar

from jaxtyping import Array, Float

from node_jax.interpolate.base import Weights
from node_jax.interpolate.between import PathBetweenKnots
from node_jax.interpolate.knots import place_in
from node_jax.types import Time


class Linear(PathBetweenKnots):
    r"""Straight lines from knot to knot: with θ = (t - t_i) / (t_{i+1} - t_i) in t_i <= t < t_{i+1},

        x(t) = (1 - θ) x_i + θ x_{i+1}.

    Beyond the ends it is the value there. It has kinks at the knots, and a jump where two knots have one time: name
    such times in `PIController(jump_ts=...)`.

    Arguments:
        ts: times of shape (time,), non-decreasing; those of the knots.
        values: array of shape (time, ...) or a pytree of them. NaN is a missing value: on the line through the values
            observed before and after it; at the ends the nearest one.

    Raises:
        ValueError, TypeError: see `nj.interpolate.AbstractPath`.

    The gradient flows to the observed values and to `ts`.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> u = nj.interpolate.Linear([0.0, 1.0, 2.0], [1.0, jnp.nan, 3.0])
        >>> u.evaluate(jnp.array([-1.0, 0.5, 1.5])).tolist(), u.derivative(0.5).tolist()
        ([1.0, 1.5, 2.5], 1.0)
    """

    offsets: ClassVar[tuple[int, ...]] = (0, 1)

    @staticmethod
    def weights(knots: Float[Array, " row"], t: Time) -> Weights:
        """1 - θ and θ."""
        theta, per_time = place_in(knots[0], knots[1], t)
        return Weights((1 - theta, theta), (-per_time, per_time))
