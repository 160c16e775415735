"""Series of different lengths become arrays in which nothing is invented."""

import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

TIMES = [np.array([0.0, 0.5, 2.0]), np.array([1.0]), np.array([3.0, 2.5, 2.5, 1.0])]
VALUES = [np.arange(6.0).reshape(3, 2), np.array([[7.0, np.nan]]), np.ones((4, 2))]


def test_padding_repeats_the_last_time_and_is_masked():
    batch = nj.data.ragged(TIMES, VALUES, length=6)
    assert batch.times.shape == (3, 6)
    for row, (times, values) in enumerate(zip(TIMES, VALUES, strict=True)):
        num = len(times)
        np.testing.assert_array_equal(batch.times[row, :num], times)
        np.testing.assert_array_equal(batch.times[row, num:], times[-1])
        np.testing.assert_array_equal(batch.mask[row, :num], np.isfinite(values))
        assert not batch.mask[row, num:].any()
    np.testing.assert_array_equal(batch.values[1, 0], [7.0, 0.0])
    np.testing.assert_array_equal(batch.lengths, [3, 1, 4])


def test_masks_and_nan_are_both_missing():
    masks = [np.ones((3, 2), bool), np.ones((1, 2), bool), np.eye(4, 2, dtype=bool)]
    batch = nj.data.ragged(TIMES, VALUES, masks)
    assert batch.mask.sum() == 6 + 1 + 2


def test_a_batched_solve_takes_it():
    batch = nj.data.ragged(TIMES, VALUES)
    sol = nj.check(nj.odeint_batch(lambda t, y, a: -y, jnp.ones((3, 2)), batch.times, in_axes=(0, 0, None)))
    np.testing.assert_allclose(sol.ys[:, -1, 0], np.exp([-2.0, 0.0, 2.0]), rtol=1e-3)


def test_buckets_hold_series_of_like_length():
    lengths = np.array([5, 200, 7, 150, 6, 180])
    groups = nj.data.buckets(lengths, 2)
    assert [sorted(lengths[group].tolist()) for group in groups] == [[5, 6, 7], [150, 180, 200]]
    assert len(nj.data.buckets([3], 4)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": TIMES[:2]}, "as many times, values and masks"),
        ({"times": [], "values": []}, "at least one"),
        ({"times": [TIMES[0], np.array([]), TIMES[2]]}, r"times\[1\]"),
        ({"times": [TIMES[0], TIMES[1], np.array([0.0, 2.0, 1.0, 3.0])]}, r"times\[2\] to be finite and sorted"),
        ({"times": [TIMES[0], np.array([np.nan]), TIMES[2]]}, r"times\[1\] to be finite and sorted"),
        ({"values": [VALUES[0], VALUES[1], np.ones((3, 2))]}, r"values\[2\] of shape \(4, 2\)"),
        ({"masks": [np.ones((3, 2))] * 3}, r"masks\[1\] of shape \(1, 2\)"),
        ({"length": 3}, "at least 4"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(nj.UsageError, match=message):
        nj.data.ragged(**{"times": TIMES, "values": VALUES, **change})
    with pytest.raises(nj.UsageError, match="at least 1"):
        nj.data.buckets([1, 2], 0)
