"""Losses on solves of one or several trajectories, whole, in segments, or up to a horizon."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from node_jax.losses.regression import masked_mean_squared_error


def horizon_times(
    times: Float[Array, "*batch time"], num_steps: Any
) -> tuple[Float[Array, "*batch time"], Bool[Array, " time"]]:
    """Times up to a horizon: after `num_steps` intervals the last time is repeated, which costs a solve nothing.

    The number may be traced, so that a horizon that grows compiles nothing anew.

    Arguments:
        times: shape (..., time), sorted.
        num_steps: intervals within the horizon; fractions are rounded down, and the number is kept within 1 and
            time - 1.

    Returns:
        The times, and which rows lie within the horizon, for the mask of a loss.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> nj.losses.horizon_times(jnp.arange(4.0), 2)[0].tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    length = times.shape[-1]
    last = jnp.clip(jnp.floor(jnp.asarray(num_steps)), 1, length - 1).astype(jnp.int32)
    is_inside = jnp.arange(length) <= last
    return jnp.where(is_inside, times, jnp.take(times, last, axis=-1)[..., None]), is_inside


def segment_rows(length: int, segment_steps: int) -> tuple[Int[np.ndarray, "segment row"], Bool[np.ndarray, "..."]]:
    """Which rows make up the segments of a series: each has `segment_steps` intervals and begins where one ended.

    Arguments:
        length: rows of the series.
        segment_steps: intervals of a segment; the last one may have fewer, and repeats its last row.

    Returns:
        The rows, shape (segment, segment_steps + 1), and which of them count in a loss: a row in two segments counts
        in the one that ends there, and repeats do not count.
    """
    starts = np.arange(0, length - 1, segment_steps)
    rows = starts[:, None] + np.arange(segment_steps + 1)
    counts = rows < length
    counts[1:, 0] = False
    return np.minimum(rows, length - 1), counts


def multiple_shooting_loss(
    predicted: Float[Array, "segment row dim"],
    target: Float[Array, "segment row dim"],
    mask: Bool[Array, "segment row dim"],
    next_starts: Float[Array, "segment dim"],
    is_joined: Bool[Array, " segment"],
    continuity: Any,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""mean over measurements of (y - target)² + continuity mean over joints of (y_end - next_start)².

    The segments of a trajectory are solved at once, each from a start of its own that is a parameter like any other.
    So short solves see the whole trajectory: gradients neither vanish nor explode, and a fit that is out of phase is
    pulled back at every start. With the penalty raised on the way, the segments grow together into one solution.

    Arguments:
        predicted: solves of all segments, from their starts.
        target, mask: measurements, and where there are any.
        next_starts: for each segment, the start of the one after it.
        is_joined: whether there is one, and both are known.
        continuity: weight of the penalty, of a data misfit of 1.

    Returns:
        The loss, and the root mean square of the jumps at the joints.

    Entries outside `mask` and rows of segments outside `is_joined` may be NaN, as those of solves that failed.

    References: Bock & Plitt (1984), doi:10.1016/S1474-6670(17)61205-9; for neural fields, Turan & Jäschke (2021),
    arXiv:2109.06786.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> ys = jnp.array([[[0.0], [1.0]], [[1.5], [2.0]]])
        >>> loss, jump = nj.losses.multiple_shooting_loss(
        ...     ys, ys, jnp.ones(ys.shape, bool), jnp.array([[1.5], [0.0]]), jnp.array([True, False]), 10.0
        ... )
        >>> float(loss), float(jump)
        (2.5, 0.5)
    """
    misfit = masked_mean_squared_error(predicted, target, mask)
    is_joint = jnp.broadcast_to(is_joined[:, None], next_starts.shape)
    jumps = masked_mean_squared_error(predicted[:, -1], next_starts, is_joint)
    # The root's derivative at 0 is infinite; it is only logged.
    return misfit + continuity * jumps, jnp.sqrt(jnp.where(jumps > 0, jumps, 1.0)) * (jumps > 0)
