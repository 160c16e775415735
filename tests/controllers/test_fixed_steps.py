"""`FixedSteps`: a known number of equal steps between requested times, each of which is the end of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

UNEVEN = np.array([0.0, 0.1, 0.1, 0.1, 0.45, 1.7, 1.7])


def decay(t, y, args):
    return -y


def solve(ts, n, **keywords):
    return nj.odeint(
        decay,
        jnp.ones(1),
        ts,
        solver=nj.RK4(),
        controller=nj.FixedSteps(n),
        steps=True,
        dense=True,
        max_steps=1024,
        **keywords,
    )


@pytest.mark.parametrize("n", [1, 3, 7])
@pytest.mark.parametrize("times", ["forward", "backward", "far"])
def test_every_requested_time_is_the_end_of_a_step(precision, times, n):
    ts = {"forward": UNEVEN, "backward": 1.7 - UNEVEN, "far": 1e4 + 100 * UNEVEN}[times].astype(precision)
    sol = solve(ts, n)
    num = int(sol.stats.num_accepted)
    assert num == 3 * n
    assert int(sol.stats.num_rejected) == 0
    ends = np.asarray(sol.path.times)[1 : num + 1]
    distinct = ts[[1, 4, 5]]
    np.testing.assert_array_equal(ends[n - 1 :: n], distinct)
    lengths = np.repeat(np.diff(ts[[0, 1, 4, 5]]) / n, n)
    spacing = np.finfo(precision).eps * np.abs(ts).max()
    np.testing.assert_allclose(np.asarray(sol.steps.dt)[:num], lengths, rtol=1e-5, atol=4 * spacing)
    assert np.isnan(np.asarray(sol.steps.t)[num:]).all()


def test_rows_are_steps_of_the_method_without_interpolation(x64):
    ts = jnp.asarray(UNEVEN)
    sol = solve(ts, 2)
    y, expected = 1.0, [1.0]
    for length in np.diff(UNEVEN):
        h = length / 2
        y *= (1 - h + h**2 / 2 - h**3 / 6 + h**4 / 24) ** 2
        expected.append(y)
    np.testing.assert_allclose(sol.ys[:, 0], expected, rtol=1e-14)


def test_the_cost_is_known_in_advance():
    sol = solve(jnp.asarray(UNEVEN), 5)
    assert int(sol.stats.num_evals) == 1 + 4 * 15
    assert int(solve(jnp.array([1.0, 1.0]), 5).stats.num_accepted) == 0
    assert int(solve(jnp.array([1.0]), 5).stats.num_accepted) == 0


def test_more_steps_than_allowed_are_refused():
    ts = jnp.linspace(0.0, 1.0, 5)
    keywords = {"solver": nj.RK4(), "controller": nj.FixedSteps(10)}
    assert int(nj.odeint(decay, jnp.ones(1), ts, max_steps=40, **keywords).status) == nj.Status.success
    with pytest.raises(ValueError, match=r"takes 40 steps for 5 times.*max_steps=39.*Write max_steps=40"):
        nj.odeint(decay, jnp.ones(1), ts, max_steps=39, **keywords)


@pytest.mark.parametrize("n", [0, -1, 2.0, True])
def test_numbers_of_steps_that_cannot_work_are_refused(n):
    with pytest.raises(ValueError, match="FixedSteps: expected n"):
        solve([0.0, 1.0], n)


def test_rows_of_ragged_times_take_their_own_steps_under_vmap(x64):
    ts = jnp.array([[0.0, 0.5, 1.0], [0.0, 0.2, 0.2], [1.0, 0.7, 0.1]])

    def one(ts):
        return nj.odeint(decay, jnp.ones(1), ts, solver=nj.RK4(), controller=nj.FixedSteps(4))

    together = jax.vmap(one)(ts)
    np.testing.assert_array_equal(together.stats.num_accepted, [8, 4, 8])
    for i, row in enumerate(ts):
        np.testing.assert_allclose(together.ys[i], one(row).ys, rtol=1e-14)


def test_a_field_that_becomes_infinite_ends_the_solve():
    sol = nj.odeint(
        lambda t, y, args: jnp.where(t > 0.5, jnp.inf, -1.0) * y,
        jnp.ones(1),
        jnp.linspace(0.0, 1.0, 5),
        solver=nj.RK4(),
        controller=nj.FixedSteps(2),
    )
    assert int(sol.status) == nj.Status.non_finite
    assert np.isfinite(np.asarray(sol.ys[:3])).all()
    assert np.isnan(np.asarray(sol.ys[3:])).all()
