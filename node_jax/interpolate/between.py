"""What paths share that go from each knot to the next."""

from jaxtyping import Array, Float, Int, PyTree

from node_jax.interpolate.base import AbstractPath
from node_jax.interpolate.knots import segment_around
from node_jax.interpolate.missing import fill_between
from node_jax.types import Time


class PathBetweenKnots(AbstractPath):
    """A path that is given by one formula between two knots; a missing value is on the line between its neighbours.

    Arguments and errors: see `AbstractPath`.
    """

    @staticmethod
    def fill(ts: Float[Array, " time"], values: PyTree[Array]) -> PyTree[Array]:
        """The line between the observed neighbours; leaves of shape (time, ...)."""
        return fill_between(ts, values)

    @staticmethod
    def locate(ts: Float[Array, " time"], t: Time) -> Int[Array, ""]:
        """The knot at which the segment around t begins."""
        return segment_around(ts, t)
