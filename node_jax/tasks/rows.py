"""Trajectories as arrays in the model's units: rows, segments of them, and errors of fits."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from node_jax.data import Trajectories, smooth
from node_jax.errors import UsageError
from node_jax.losses import multiple_shooting_loss
from node_jax.models import Scaling
from node_jax.tasks.inputs import Inputs, inputs_of


class Rows(eqx.Module):
    """Trajectories in the model's units, on the device."""

    times: Float[Array, "series time"]
    values: Float[Array, "series time dim"]
    """0 where nothing was measured."""
    mask: Bool[Array, "series time dim"]
    states: Float[Array, "series time dim"]
    """Smoothed."""
    slopes: Float[Array, "series time dim"]
    """Smoothed."""
    is_row: Bool[Array, "series time"]
    """Whether a row is one, and no padding."""
    inputs: Inputs | None = None
    """Controls of each series."""


def rows_of(data: Trajectories, scaling: Scaling) -> tuple[Rows, np.ndarray]:
    """Trajectories in the model's units, smoothed, and the standard deviation of the noise of each quantity, shape
    (dim,), in the same units.

    Raises:
        UsageError: for values that are not positive under a logarithm.
    """
    if scaling.is_log and not (data.values[data.mask] > 0).all():
        raise UsageError(
            f"TrajectoryTask: expected positive values for a logarithm, got {data.values[data.mask].min():g}. "
            "Use the transform 'standard'."
        )
    times = np.asarray(scaling.time_to_model(data.times), float)
    values = np.asarray(scaling.state_to_model(data.values), float)
    smoothed = smooth((data.times - scaling.t_offset) / scaling.t_scale, values)
    taus = jnp.asarray(times, float)
    rows = Rows(
        taus,
        jnp.asarray(np.where(data.mask, values, 0.0), float),
        jnp.asarray(data.mask),
        jnp.asarray(smoothed.states, float),
        jnp.asarray(smoothed.slopes, float),
        jnp.asarray(np.arange(times.shape[1]) < data.lengths[:, None]),
        inputs_of(data.controls, taus),
    )
    return rows, np.sqrt(np.mean(smoothed.noise**2, axis=0))


class Segments(NamedTuple):
    """Segments of trajectories, each solved from a start of its own, with a leading axis of segments."""

    starts: Float[Array, "segment dim"]
    times: Float[Array, "segment time"]
    values: Float[Array, "segment time dim"]
    mask: Bool[Array, "segment time dim"]
    next_starts: Float[Array, "segment dim"]
    is_joined: Bool[Array, " segment"]
    inputs: Inputs | None

    def loss(self, ys: Array, is_good: Bool[Array, " segment"], weight: Array) -> tuple[Array, Array]:
        """The loss of solves, and the root mean square of the jumps; see `multiple_shooting_loss`.

        Arguments:
            ys: shape (segment, time, dim).
            is_good: which of the solves count.
            weight: of the penalty on jumps.
        """
        mask, is_joined = self.mask & is_good[:, None, None], self.is_joined & is_good
        return multiple_shooting_loss(ys, self.values, mask, self.next_starts, is_joined, weight)


def flatten_series(arrays: Any) -> Any:
    """(series, x, ...) as (series x, ...), for an array or a tree of them."""
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), arrays)


def relative_errors(fitted: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """√(mean (fitted - target)² / var target) of each quantity, and the root mean square of these over quantities.

    Arguments:
        fitted, target: shape (..., time, dim). NaN in the target is left out; NaN in a fit makes its error NaN.

    Returns:
        Shape (dim,), and a number. It is 1 for a fit that is constant at the mean.
    """
    axes = tuple(range(target.ndim - 1))
    squares = np.where(np.isnan(target), 0.0, (fitted - target) ** 2).sum(axis=axes) / (~np.isnan(target)).sum(
        axis=axes
    )
    ratios = squares / np.nanvar(target, axis=axes)
    return np.sqrt(ratios), float(np.sqrt(ratios.mean()))
