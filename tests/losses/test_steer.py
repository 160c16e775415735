"""The random end of a solve: where it lies, and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from node_jax.losses import steer_times


@pytest.mark.parametrize("ts", [[0.0, 1.0, 3.0], [3.0, 2.0, 0.0], [-1.0, 3.0]])
@pytest.mark.parametrize("width", [0.5, 100.0])
def test_the_end_is_uniform_about_the_last_time_and_the_rest_stays(ts, width):
    ts = np.array(ts, np.float32)
    keys = jax.random.split(jax.random.key(0), 4000)
    found = np.asarray(jax.vmap(lambda key: steer_times(ts, width, key=key))(keys))
    b = min(width, abs(ts[-1] - ts[-2]))
    np.testing.assert_array_equal(found[:, :-1], np.broadcast_to(ts[:-1], found[:, :-1].shape))
    shifts = found[:, -1] - ts[-1]
    assert abs(shifts).max() <= b * (1 + 1e-6)
    assert abs(shifts).max() > 0.99 * b
    assert abs(shifts.mean()) < 4 * b / np.sqrt(3 * len(keys))
    np.testing.assert_allclose(shifts.std(), b / np.sqrt(3), rtol=0.05)
    steps = np.diff(found, axis=1) * np.sign(ts[-1] - ts[0])
    assert (steps >= 0).all()


def test_each_row_of_a_batch_has_a_draw_and_padding_moves_along():
    ts = jnp.array([[0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 0.0, 0.0]])
    found = np.asarray(steer_times(ts, jnp.array([0.5, 0.5, 0.5, 0.25]), key=jax.random.key(0)))
    shifts = found[:, -1] - np.asarray(ts)[:, -1]
    assert (abs(shifts) <= [0.5, 0.5, 0.0, 0.25]).all()
    assert len(set(shifts.tolist())) == 4
    np.testing.assert_array_equal(found[:, :2], ts[:, :2])
    assert found[0, 2] == found[0, 3]
    assert found[3, 2] == found[3, 3]
    assert found[1, 2] == 2.0


def test_a_width_of_zero_returns_the_times():
    ts = jnp.linspace(0.1, 0.7, 7)
    np.testing.assert_array_equal(steer_times(ts, 0.0, key=jax.random.key(3)), ts)
    assert steer_times([0, 1], 0.0, key=jax.random.key(3)).dtype == jnp.float32


@pytest.mark.parametrize(("ts", "width"), [([0.0, 1.0], -0.1), ([0.0, 1.0], float("nan")), ([], 0.1), (1.0, 0.1)])
def test_what_cannot_be_moved_is_refused(ts, width):
    with pytest.raises(ValueError, match="steer_times"):
        steer_times(ts, width, key=jax.random.key(0))
