"""Piecewise constant paths."""

from typing import ClassVar

from jaxtyping import Array, Float, Int, PyTree

from node_jax.interpolate.base import AbstractPath, Weights
from node_jax.interpolate.knots import last_before
from node_jax.interpolate.missing import fill_with_last
from node_jax.types import Time


class ZeroOrderHold(AbstractPath):
    r"""The value at the last knot:

        x(t) = x_i        for t_i <= t < t_{i+1}.

    Before the first knot it is the value there. In a solve whose `args` (or whose field, an Equinox module) hold one, a
    step ends at every knot and each side sees its own value, as with `PIController(jump_ts=...)`. One that a plain
    function closes over is not seen: pass it through `args`.

    Arguments:
        ts: times of shape (time,), non-decreasing; those of the knots.
        values: array of shape (time, ...) or a pytree of them. NaN is a missing value: the one last observed holds on;
            at the start the first one observed.

    Raises:
        ValueError, TypeError: see `nj.interpolate.AbstractPath`.

    The gradient flows to the observed values. None flows to `ts`: knots are constants of a solve, as step sizes are.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> u = nj.interpolate.ZeroOrderHold([0.0, 1.0, 2.0], [1.0, jnp.nan, 3.0])
        >>> u.evaluate(jnp.array([-1.0, 1.5, 2.0])).tolist()
        [1.0, 1.0, 3.0]
    """

    offsets: ClassVar[tuple[int, ...]] = (0,)

    @staticmethod
    def fill(ts: Float[Array, " time"], values: PyTree[Array]) -> PyTree[Array]:
        """The value last observed."""
        del ts
        return fill_with_last(values)

    @staticmethod
    def locate(ts: Float[Array, " time"], t: Time) -> Int[Array, ""]:
        """The last knot at or before t."""
        return last_before(ts, t)

    @staticmethod
    def weights(knots: Float[Array, " row"], t: Time) -> Weights:
        """One, and a slope of zero."""
        del knots, t
        return Weights((1.0,), (0.0,))
