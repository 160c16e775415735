r"""What all paths through data share.

A path is a weighted sum of the values at a few knots around t,

    x(t) = Σ_j w_j(t) x_{i+j},        dx/dt(t) = Σ_j w_j'(t) x_{i+j},

with weights that depend on times alone. Kinds of path differ in which knots these are and in the weights. The gradient
for the values goes to these few rows: whoever knows the times of all evaluations can gather the rows first, by
`segment`, differentiate `read`, and add what comes out to its rows, without an array of all knots for each evaluation.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from node_jax.interpolate.knots import as_knots
from node_jax.tree import tree_weighted_sum, tree_zeros
from node_jax.types import Time


class Sample(NamedTuple):
    """A path at one time."""

    value: PyTree[Array]
    slope: PyTree[Array]


class Known(NamedTuple):
    """A path at one time, evaluated elsewhere."""

    t: Time
    sample: Sample


class Segment(NamedTuple):
    """The part of a path that its value at one time depends on."""

    knots: Float[Array, " row"]
    values: PyTree[Array]
    """Leaves of shape (row, ...)."""


class Weights(NamedTuple):
    """Of the rows of a segment; those that are plain zeros cost nothing."""

    value: tuple[Any, ...]
    slope: tuple[Any, ...]


class AbstractPath(eqx.Module):
    """A path x(t) through values at given times: a control input of a field, as part of its `args`.

    Arguments:
        ts: times of shape (time,), the knots: at least one, finite, non-decreasing. Two rows at one time are a jump
            from the first to the second. Rows at the end that repeat the last one, or its time with NaN, are padding.
        values: array of shape (time, ...) or a pytree of them. NaN is a missing value; it is filled in once, here.

    Raises:
        ValueError, TypeError: for shapes and dtypes that do not fit; for times that are not finite and sorted and for
            channels without any value, where these are known. Where they are known only at run time, unsorted times
            make all values NaN, and such a channel stays NaN: a solve ends with the status `non_finite`.
    """

    ts: Float[Array, " time"]
    values: PyTree[Array]
    known: Known | None
    """The path at the time at which a field is being called, where the caller has evaluated it."""

    offsets: ClassVar[tuple[int, ...]]
    """Which knots the path depends on, counted from the one that `locate` returns."""

    def __init__(self, ts: Any, values: Any) -> None:
        ts, values = as_knots(type(self).__name__, ts, values)
        self.ts, self.values, self.known = ts, self.fill(ts, values), None

    @staticmethod
    @abc.abstractmethod
    def fill(ts: Float[Array, " time"], values: PyTree[Array]) -> PyTree[Array]:
        """The values with something in place of every NaN."""

    @staticmethod
    @abc.abstractmethod
    def locate(ts: Float[Array, " time"], t: Time) -> Int[Array, ""]:
        """The knot from which `offsets` count at time t."""

    @staticmethod
    @abc.abstractmethod
    def weights(knots: Float[Array, " row"], t: Time) -> Weights:
        """The w_j(t), and the w_j'(t) in 1/time."""

    def evaluate(self, t: Any) -> PyTree[Array]:
        """x(t); before the first knot the value there, after the last knot the value there.

        Arguments:
            t: a time, or an array of times, whose axes come first in the result.
        """
        return self._sample_all(t).value

    def derivative(self, t: Any) -> PyTree[Array]:
        """dx/dt at t: at a knot from the right, at the last one from the left, and zero beyond the ends.

        Arguments:
            t: a time, or an array of times, whose axes come first in the result.
        """
        return self._sample_all(t).slope

    def __call__(self, t: Any) -> PyTree[Array]:
        """`evaluate(t)`."""
        return self.evaluate(t)

    def _sample_all(self, t: Any) -> Sample:
        if self.known is not None and t is self.known.t:
            return self.known.sample
        t = jnp.asarray(t)
        t = t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(self.ts.dtype)
        return self.sample(t) if t.ndim == 0 else jax.vmap(self._sample_all)(t)

    def sample(self, t: Time) -> Sample:
        """Value and slope at one time."""
        return self.read(self.segment(t)[1], t)

    def segment(self, t: Time) -> tuple[Int[Array, " row"], Segment]:
        """Which rows the path depends on at time t, and their times and values."""
        if self.ts.ndim != 1:
            raise ValueError(
                f"{type(self).__name__}: expected one path, got a batch of shape {self.ts.shape[:-1]}. Name its axis "
                "in in_axes of nj.odeint_batch, or write jax.vmap(lambda path, t: path.evaluate(t))(paths, times)."
            )
        last = self.ts.shape[0] - 1
        index = jnp.clip(self.locate(self.ts, t) + jnp.array(self.offsets, jnp.int32), 0, last)
        return index, jax.tree.map(lambda leaf: leaf[index], Segment(self.ts, self.values))

    def read(self, segment: Segment, t: Time) -> Sample:
        """Value and slope at a time of a segment."""
        rows = [jax.tree.map(lambda leaf, j=j: leaf[j], segment.values) for j in range(len(self.offsets))]

        def combine(weights: tuple[Any, ...]) -> PyTree[Array]:
            total = tree_weighted_sum(weights, rows)
            return tree_zeros(rows[0]) if total is None else total

        return Sample(*map(combine, self.weights(segment.knots, t)))
