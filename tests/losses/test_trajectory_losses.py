"""Losses on slopes, segments and horizons are what their formulas say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def oscillator(t, y, args):
    return jnp.stack([y[1], -4.0 * y[0]])


TIMES = np.array([0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.8])
TRUTH = np.stack([np.cos(2 * TIMES), -2 * np.sin(2 * TIMES)], 1)


def test_gradient_matching_vanishes_at_the_true_field_and_counts_by_scale():
    slopes = jax.vmap(oscillator, (0, 0, None))(TIMES, TRUTH, None)
    mask = np.arange(7) != 2
    loss = nj.losses.gradient_matching_loss
    assert float(loss(oscillator, TIMES, TRUTH, slopes, mask)) == 0.0
    # One row is off by 3 in the second component; a masked one may be anything.
    off = slopes.at[4, 1].add(3.0).at[2].set(jnp.nan)
    assert float(loss(oscillator, TIMES, TRUTH, off, mask)) == pytest.approx(9 / 12)
    assert float(loss(oscillator, TIMES, TRUTH, off, mask, scale=np.array([1.0, 2.0]))) == pytest.approx(9 / 48)
    gradient = jax.grad(lambda c: loss(lambda t, y, args: c * oscillator(t, y, args), TIMES, TRUTH, off, mask))(1.0)
    assert np.isfinite(gradient)


def test_a_horizon_repeats_its_last_time_and_may_be_traced():
    traces = []

    @jax.jit
    def grown(steps):
        traces.append(1)
        return nj.losses.horizon_times(jnp.stack([TIMES, -TIMES]), steps)

    for steps, rows in ((2.9, 3), (1, 2), (0.2, 2), (6, 7), (100.0, 7)):
        times, is_inside = grown(jnp.asarray(steps, float))
        assert int(is_inside.sum()) == rows
        for row, sign in zip(times, (1, -1), strict=True):
            np.testing.assert_allclose(row, sign * np.append(TIMES[:rows], [TIMES[rows - 1]] * (7 - rows)), atol=1e-7)
    # An integer has another dtype than a float, and no more.
    assert len(traces) == 1


@pytest.mark.parametrize("segment_steps", [1, 2, 3, 4, 6, 9])
def test_segments_count_every_row_once_and_begin_where_one_ended(segment_steps):
    rows, counts = nj.losses.segment_rows(7, segment_steps)
    assert sorted(rows[counts].tolist()) == list(range(7))
    assert (rows[1:, 0] == rows[:-1, -1]).all()
    assert rows.shape == counts.shape == (-(-6 // segment_steps), segment_steps + 1)


def test_multiple_shooting_is_the_data_misfit_and_the_weighted_jumps():
    rng = np.random.default_rng(0)
    predicted, target, starts = (
        rng.standard_normal((3, 4, 2)),
        rng.standard_normal((3, 4, 2)),
        rng.standard_normal((3, 2)),
    )
    mask = rng.uniform(size=(3, 4, 2)) < 0.7
    is_joined = np.array([True, False, True])
    predicted[1] = np.nan
    mask[1] = False
    loss, jump = nj.losses.multiple_shooting_loss(
        *(jnp.asarray(x) for x in (predicted, target, mask, starts, is_joined)), 7.0
    )
    jumps = np.mean((predicted[[0, 2], -1] - starts[[0, 2]]) ** 2)
    assert float(jump) == pytest.approx(np.sqrt(jumps), rel=1e-5)
    assert float(loss) == pytest.approx(np.mean((predicted - target)[mask] ** 2) + 7 * jumps, rel=1e-5)
