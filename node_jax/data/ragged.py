"""Series of different lengths and times as arrays that one batched solve takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class RaggedBatch:
    """Series padded to one length, on the host.

    Arguments:
        times: shape (batch, time); a row with fewer times repeats its last one, which costs a solve nothing.
        values: shape (batch, time, ...); 0 where nothing was measured.
        mask: as `values`; whether a value was measured. Padding was not.
        lengths: shape (batch,), times of each series.
    """

    times: np.ndarray
    values: np.ndarray
    mask: np.ndarray
    lengths: np.ndarray


def ragged(
    times: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    *,
    length: int | None = None,
) -> RaggedBatch:
    """Pad series to one length, for `nj.odeint_batch(field, y0s, batch.times, in_axes=(0, 0, None))`.

    Arguments:
        times: of each series, shape (time,), increasing or decreasing; any numbers of times.
        values: of each series, shape (time, ...), the same but for the first axis. NaN is a missing value.
        masks: of each series, as its values: False where a value is missing, beside those that are NaN.
        length: the length to pad to; `None` takes that of the longest. Batches of one length compile once.

    Returns:
        A `RaggedBatch`. A loss is a sum over its `mask`: `jnp.sum(jnp.where(mask, (ys - values) ** 2, 0))`.

    Raises:
        UsageError: for shapes that do not fit, an empty series, times that are not finite and sorted; it names the
            series.

    Example:
        >>> import numpy as np, node_jax as nj
        >>> batch = nj.data.ragged([np.array([0.0, 1.0]), np.array([0.0])], [np.ones((2, 3)), np.ones((1, 3))])
        >>> batch.times.tolist(), batch.mask[:, :, 0].tolist()
        ([[0.0, 1.0], [0.0, 0.0]], [[True, True], [True, False]])
    """
    series = [(np.asarray(t, float), np.asarray(x, float)) for t, x in zip(times, values, strict=False)]
    if not series or len(times) != len(values) or (masks is not None and len(masks) != len(times)):
        raise UsageError(
            f"ragged: expected as many times, values and masks, at least one of each, got {len(times)}, {len(values)}"
            f"{'' if masks is None else f' and {len(masks)}'}."
        )
    for i, (t, x) in enumerate(series):
        _check(i, t, x, series[0][1].shape[1:])
    lengths = np.array([len(t) for t, _ in series])
    longest = int(lengths.max())
    if length is not None and length < longest:
        raise UsageError(f"ragged: expected length to be at least {longest}, that of the longest series, got {length}.")
    shape = (len(series), length or longest)
    batch = RaggedBatch(
        np.zeros(shape),
        np.zeros((*shape, *series[0][1].shape[1:])),
        np.zeros((*shape, *series[0][1].shape[1:]), bool),
        lengths,
    )
    for i, (t, x) in enumerate(series):
        is_measured = np.isfinite(x)
        if masks is not None:
            mask = np.asarray(masks[i], bool)
            if mask.shape != x.shape:
                raise UsageError(f"ragged: expected masks[{i}] of shape {x.shape}, as values[{i}], got {mask.shape}.")
            is_measured &= mask
        batch.times[i, : len(t)], batch.times[i, len(t) :] = t, t[-1]
        batch.values[i, : len(t)] = np.where(is_measured, x, 0.0)
        batch.mask[i, : len(t)] = is_measured
    return batch


def _check(i: int, times: np.ndarray, values: np.ndarray, rest: tuple[int, ...]) -> None:
    if times.ndim != 1 or len(times) == 0:
        raise UsageError(f"ragged: expected times[{i}] of shape (time,) with at least one time, got {times.shape}.")
    if values.shape != (len(times), *rest):
        raise UsageError(
            f"ragged: expected values[{i}] of shape {(len(times), *rest)}, a row for each of its times, got "
            f"{values.shape}."
        )
    steps = np.diff(times)
    if not np.isfinite(times).all() or not ((steps >= 0).all() or (steps <= 0).all()):
        raise UsageError(f"ragged: expected times[{i}] to be finite and sorted, got {times}. Sort values with them.")


def buckets(lengths: Sequence[int] | np.ndarray, num_buckets: int) -> list[np.ndarray]:
    """Which series to pad together, so that little is padded: groups of like size, sorted by length.

    Arguments:
        lengths: of all series.
        num_buckets: how many groups.

    Returns:
        The indices of each group, from the shortest to the longest; fewer groups if there are fewer series.
    """
    if num_buckets < 1:
        raise UsageError(f"buckets: expected num_buckets to be at least 1, got {num_buckets}.")
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [group for group in np.array_split(order, num_buckets) if group.size]
