"""Dense output, steps and `save`: right, differentiable, and NaN where a solve did not come."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

TIGHT = nj.PIController(rtol=1e-9, atol=1e-9)
FORWARD = np.array([0.0, 0.7, 0.7, 1.5])
BACKWARD = np.array([1.0, 1.0, -0.5])


def oscillator(t, y, args):
    return jnp.stack([y[1], -args * y[0]])


def exact(t, t0=0.0, order=0):
    """y and its derivatives for args = 4 and y(t0) = (1, 0)."""
    phase = 2 * (np.asarray(t) - t0) + order * np.pi / 2
    return 2.0**order * np.stack([np.cos(phase), -2 * np.sin(phase)], axis=-1)


@functools.cache
def dense_solve(is_backward=False, adjoint=None):
    ts = BACKWARD if is_backward else FORWARD
    adjoint = adjoint or nj.CheckpointedAdjoint()

    def run(y0, ts, rate):
        return nj.odeint(
            oscillator, y0, ts, rate, controller=TIGHT, dense=True, steps=True, max_steps=128, adjoint=adjoint
        )

    return jax.jit(run)(jnp.array([1.0, 0.0]), jnp.asarray(ts), jnp.array(4.0))


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_dense_output_is_the_solution_at_any_time(x64, is_backward):
    sol = dense_solve(is_backward)
    t0, t1 = sol.ts[0], sol.ts[-1]
    t = np.random.default_rng(0).uniform(*sorted((float(t0), float(t1))), (7, 11))
    assert sol.evaluate(t).shape == (7, 11, 2)
    np.testing.assert_allclose(sol.evaluate(t), exact(t, t0), atol=2e-7)
    np.testing.assert_allclose(sol.derivative(t), exact(t, t0, 1), atol=2e-5)
    assert sol.evaluate(float(t0)).shape == (2,)
    np.testing.assert_allclose(sol.derivative(t0), exact(t0, t0, 1), atol=1e-10)


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_dense_output_meets_the_rows_and_the_ends_of_steps(x64, is_backward):
    sol = dense_solve(is_backward)
    np.testing.assert_allclose(sol.evaluate(sol.ts), sol.ys, rtol=1e-14, atol=1e-15)
    num = int(sol.stats.num_accepted)
    ends = sol.steps.t[:num] + sol.steps.dt[:num]
    nodes = sol.path.nodes[1 : num + 1, 0]
    np.testing.assert_array_equal(sol.evaluate(sol.path.times[1 : num + 1]), nodes)
    np.testing.assert_allclose(sol.evaluate(ends), nodes, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_dense_output_is_nan_outside(x64, is_backward):
    sol = dense_solve(is_backward)
    before, after = (sol.ts[0] - 1e-9, sol.ts[-1] + 1e-9) if not is_backward else (1.0 + 1e-9, -0.5 - 1e-9)
    for read in (sol.evaluate, sol.derivative):
        assert np.isnan(read(jnp.stack([before, after]))).all()
        assert np.isfinite(read(sol.ts[jnp.array([0, -1])])).all()


def test_dense_output_of_a_solve_that_failed_is_nan_beyond_its_last_step():
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 9.0], max_steps=4, dense=True, steps=True)
    assert int(sol.status) == nj.Status.max_steps
    reached = float(jnp.nansum(sol.steps.dt))
    assert 0 < reached < 9
    values = sol.evaluate(jnp.array([0.0, 0.5 * reached, 1.01 * reached, 9.0]))[:, 0]
    np.testing.assert_allclose(values[:2], np.exp([0.0, -0.5 * reached]), rtol=1e-3)
    assert np.isnan(values[2:]).all()


def test_dense_output_of_an_empty_solve_is_the_start():
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [1.0, 1.0], dense=True)
    np.testing.assert_array_equal(sol.evaluate(1.0), [1.0])
    assert np.isnan(sol.evaluate(jnp.array([0.9, 1.1]))).all()
    assert np.isnan(sol.derivative(1.0)).all()


def test_a_row_whose_first_attempt_is_rejected_while_others_step_has_a_slope_at_its_start(x64):
    """Under vmap its record begins with steps of no length."""

    def solve(rate, dt0):
        controller = nj.PIController(rtol=1e-5, atol=1e-7, dt0=dt0)
        return nj.odeint(lambda t, y, rate: -rate * y, jnp.ones(2), [0.0, 1.0], rate, controller=controller, dense=True)

    rates = jnp.array([1.0, 200.0])
    sols = jax.vmap(solve)(rates, jnp.array([0.01, 0.5]))
    assert sols.path.times[1, 1] == 0.0
    expected = -rates[:, None] * np.ones(2)
    np.testing.assert_allclose(jax.vmap(lambda sol: sol.derivative(0.0))(sols), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(lambda sol: jax.jacfwd(sol.evaluate)(0.0))(sols), expected, rtol=1e-12)
    np.testing.assert_array_equal(jax.vmap(lambda sol: sol.evaluate(0.0))(sols), 1.0)


def test_a_jump_at_the_start_leaves_the_value_there_and_gives_the_slope_behind_it(x64):
    jump = nj.Jump([0.0], lambda t, y, args: 2 * y)
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], events=jump, dense=True, controller=TIGHT)
    np.testing.assert_allclose(sol.evaluate(jnp.array([0.0, 1.0]))[:, 0], [1.0, 2 * np.exp(-1.0)], rtol=1e-7)
    np.testing.assert_allclose(sol.derivative(0.0), [-2.0], rtol=1e-12)


def test_dense_output_under_jit_and_vmap(x64):
    sol = dense_solve()
    t = jnp.linspace(0.0, 1.5, 5)
    np.testing.assert_allclose(jax.jit(lambda sol, t: sol.evaluate(t))(sol, t), sol.evaluate(t), rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(sol.evaluate)(t), sol.evaluate(t), rtol=1e-14)

    def solve(rate):
        return nj.odeint(oscillator, jnp.array([1.0, 0.0]), FORWARD, rate, controller=TIGHT, dense=True, max_steps=128)

    batch = jax.jit(jax.vmap(solve))(jnp.array([4.0, 1.0]))
    values = jax.vmap(lambda sol: sol.evaluate(t))(batch)
    np.testing.assert_allclose(values[0], sol.evaluate(t), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(values[1, :, 0], np.cos(t), atol=1e-7)
    with pytest.raises(ValueError, match=r"got a batch of shape \(2,\).*jax\.vmap"):
        batch.evaluate(0.5)


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.CheckpointedAdjoint(8), nj.DirectAdjoint()], ids=str)
def test_the_gradient_of_dense_output_is_that_of_the_solution(x64, adjoint):
    """cos(w (t - t0)) y0 in every argument, through the value and the derivative at a time."""

    def read(t, y0, rate, t0):
        ts = jnp.stack([t0, t0 + 1.5])
        sol = nj.odeint(
            oscillator, jnp.stack([y0, 0.0]), ts, rate, controller=TIGHT, dense=True, max_steps=64, adjoint=adjoint
        )
        return sol.evaluate(t)[0] + 0.3 * jnp.sin(sol.derivative(t)[0])

    def closed(t, y0, rate, t0):
        w = jnp.sqrt(rate)
        value, slope = y0 * jnp.cos(w * (t - t0)), -w * y0 * jnp.sin(w * (t - t0))
        return value + 0.3 * jnp.sin(slope)

    arguments = (jnp.array(0.9), jnp.array(0.8), jnp.array(4.0), jnp.array(0.2))
    found = jax.jit(jax.grad(read, argnums=(0, 1, 2, 3)))(*arguments)
    expected = jax.grad(closed, argnums=(0, 1, 2, 3))(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_dense_output_that_was_not_asked_for_says_how_to_get_it():
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0])
    for read in (sol.evaluate, sol.derivative):
        with pytest.raises(ValueError, match="dense=True"):
            read(0.5)
    assert sol.steps is None
    assert sol.costs == {}


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.DirectAdjoint(), nj.BacksolveAdjoint()], ids=str)
@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_steps_add_up_to_the_interval(x64, is_backward, adjoint):
    if isinstance(adjoint, nj.BacksolveAdjoint):
        ts = BACKWARD if is_backward else FORWARD
        sol = nj.odeint(oscillator, jnp.array([1.0, 0.0]), ts, 4.0, controller=TIGHT, steps=True, adjoint=adjoint)
    else:
        sol = dense_solve(is_backward, adjoint)
    num = int(sol.stats.num_accepted)
    t, dt, error_ratio = (np.asarray(x) for x in (sol.steps.t, sol.steps.dt, sol.steps.error_ratio))
    np.testing.assert_allclose(dt[:num].sum(), sol.ts[-1] - sol.ts[0], rtol=1e-14)
    np.testing.assert_allclose(t[1:num], t[: num - 1] + dt[: num - 1], rtol=1e-13, atol=1e-15)
    assert t[0] == sol.ts[0]
    assert (np.sign(dt[:num]) == (-1 if is_backward else 1)).all()
    assert ((error_ratio[:num] > 0) & (error_ratio[:num] <= 1)).all()
    for rows in (t, dt, error_ratio):
        assert np.isnan(rows[num:]).all()
        assert rows.shape[0] > num


def test_saved_trees_see_time_state_and_args(x64):
    ts = np.array([0.0, 0.0, 0.4, 1.5])
    sol = nj.odeint(
        oscillator,
        jnp.array([1.0, 0.0]),
        ts,
        4.0,
        save=lambda t, y, args: {"time": t, "energy": (args * y[0] ** 2 + y[1] ** 2, jnp.outer(y, y))},
        controller=TIGHT,
    )
    np.testing.assert_array_equal(sol.ys["time"], ts)
    np.testing.assert_allclose(sol.ys["energy"][0], 4.0, rtol=1e-7)
    y = exact(ts)
    np.testing.assert_allclose(sol.ys["energy"][1], y[:, :, None] * y[:, None, :], atol=1e-7)


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.DirectAdjoint(), nj.GaussAdjoint()], ids=str)
def test_the_gradient_through_save_is_finite_where_rows_were_not_reached(x64, adjoint):
    """`save` has no derivative at NaN, and rows that a loss masks must add nothing."""

    def loss(y0, rate):
        sol = nj.odeint(
            lambda t, y, rate: -rate * y,
            y0,
            jnp.array([0.0, 0.2, 50.0, 90.0]),
            rate,
            adjoint=adjoint,
            max_steps=6,
            save=lambda t, y, rate: jnp.sqrt(rate * y) * t,
            controller=nj.PIController(rtol=1e-6, atol=1e-6, dt0=0.2),
        )
        return jnp.sum(jnp.where(jnp.isfinite(sol.ys), sol.ys, 0.0)), sol

    (total, sol), (y0_bar, rate_bar) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        jnp.ones(1), jnp.array(1.0)
    )
    assert int(sol.status) == nj.Status.max_steps
    assert np.isnan(np.asarray(sol.ys[2:])).all()
    expected = 0.2 * np.exp(-0.1)
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    if not isinstance(adjoint, nj.GaussAdjoint):
        np.testing.assert_allclose(y0_bar, [expected / 2], rtol=1e-4)
        np.testing.assert_allclose(rate_bar, expected * (0.5 - 0.1), rtol=1e-4)
    assert np.isfinite(y0_bar).all()
    assert np.isfinite(rate_bar)


def test_the_gradient_through_save_is_finite_where_a_time_is_nan():
    def loss(rate, ts):
        sol = nj.odeint(lambda t, y, a: -a * y, jnp.ones(2), ts, rate, save=lambda t, y, a: a * t * y * jnp.cos(t))
        return jnp.nansum(sol.ys)

    assert jax.jit(jax.value_and_grad(loss))(1.0, jnp.array([0.0, jnp.nan, 1.0])) == (0.0, 0.0)


def test_saved_integers_are_refused():
    with pytest.raises(TypeError, match=r"dtype int32 at save\(\.\.\.\)\['count'\]"):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], save=lambda t, y, args: {"count": jnp.int32(1)})


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("y", "expected save to be callable"),
        (lambda t, y: y, r"expected save to be callable as save\(t, y, args\), got one with arguments \(t, y\)"),
        (lambda t, y, args: None, "at least one array, got None"),
        (lambda t, y, args: (y, "y"), r"got str at save\(\.\.\.\)\[1\]"),
    ],
    ids=["no function", "two arguments", "nothing", "no array"],
)
def test_a_save_that_gives_no_arrays_is_refused(save, message):
    with pytest.raises(TypeError, match=message):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], save=save)
