"""Control inputs among the arguments of a solve; the knots of a zero-order hold are stops at which the field jumps."""

import itertools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.interpolate import CubicHermite, Linear, ZeroOrderHold

KNOTS = np.array([-1.0, 0.25, 0.4, 0.4, 1.1, 1.5, 3.0])
LEVELS = np.array([3.0, 1.0, 9.0, -2.0, 0.5, 4.0, 7.0])
TS = np.array([0.0, 0.3, 1.1, 2.0])
PI = nj.PIController(rtol=1e-8, atol=1e-8)


def relax(t, y, args):
    return args["u"].evaluate(t) - y


def exact(ts, y0=1.0, knots=KNOTS, levels=LEVELS):
    """y of dy/dt = u(t) - y from y(ts[0]) = y0, in either direction, by the closed form between knots."""
    y, ys = y0, [y0]
    for t0, t1 in itertools.pairwise(ts):
        inner = knots[(knots > min(t0, t1)) & (knots < max(t0, t1))]
        cuts = np.concatenate([[t0], inner if t1 >= t0 else inner[::-1], [t1]])
        for start, end in itertools.pairwise(cuts):
            u = levels[np.searchsorted(knots, (start + end) / 2, side="right") - 1]
            y = u + (y - u) * np.exp(start - end)
        ys.append(y)
    return np.array(ys)


def solve(ts=TS, field=relax, knots=KNOTS, levels=LEVELS, **keywords):
    settings = {"controller": PI, **keywords}

    def run(ts, knots, levels):
        return nj.odeint(field, 1.0, ts, {"u": ZeroOrderHold(knots, levels)}, **settings)

    return jax.jit(run)(jnp.asarray(ts), jnp.asarray(knots), jnp.asarray(levels))


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "backward"])
def test_a_step_ends_at_every_knot_of_a_hold(x64, is_backward):
    ts = TS[::-1] if is_backward else TS
    sol = solve(ts, steps=True)
    np.testing.assert_allclose(sol.ys, exact(ts), rtol=1e-6)
    ends = np.asarray(sol.steps.t + sol.steps.dt)[: int(sol.stats.num_accepted)]
    inner = KNOTS[(KNOTS > 0) & (KNOTS < 2)]
    assert np.min(abs(ends[:, None] - inner), axis=0).max() < 1e-12
    assert int(sol.stats.num_rejected) <= 1


def test_float32_meets_knots_of_a_hold_far_from_time_zero():
    shift = 1e4
    sol = solve(np.float32(TS + shift), knots=np.float32(KNOTS + shift), controller=nj.PIController(rtol=1e-5))
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys, exact(TS), atol=5e-3)


@pytest.mark.parametrize(
    ("controller", "num_steps"),
    [(nj.FixedSteps(10), 30 + 3), (nj.FixedSteps(1), 3 + 3), (nj.ConstantStep(0.07), 29 + 4)],
    ids=["ten", "one", "constant"],
)
def test_steps_of_given_sizes_are_cut_at_knots_and_go_on(x64, controller, num_steps):
    """Of the knots those at 0.25, 0.4 and 1.5 lie inside steps between outputs, that at 1.1 is an output."""
    sol = solve(solver=nj.RK4(), controller=controller)
    assert int(sol.stats.num_accepted) == num_steps
    np.testing.assert_allclose(sol.ys, exact(TS), atol=1e-2 if controller == nj.FixedSteps(1) else 1e-6)


def test_a_hold_beside_other_stops_and_in_the_field_itself(x64):
    class Field(eqx.Module):
        holds: list[ZeroOrderHold]

        def __call__(self, t, y, args):
            del args
            return sum(u(t) for u in self.holds) + jnp.where(t < 0.7, 0.0, 1.0) - y

    field = Field([ZeroOrderHold([0.0, 0.5], [0.0, 1.0]), ZeroOrderHold([0.0, 0.3], [0.0, 2.0])])
    controller = nj.PIController(rtol=1e-8, atol=1e-8, jump_ts=[0.7])
    knots, levels = np.array([0.0, 0.3, 0.5, 0.7]), np.array([0.0, 2.0, 3.0, 4.0])
    sol = jax.jit(lambda field: nj.odeint(field, 1.0, TS, controller=controller))(field)
    np.testing.assert_allclose(sol.ys, exact(TS, knots=knots, levels=levels), rtol=1e-7)
    assert int(sol.stats.num_rejected) <= 1


def test_continuous_controls_drive_a_field(x64):
    """Their values and their slopes: y = u + exp(-t) (y0 - u0) solves dy/dt = du/dt + u - y."""

    def field(t, y, args):
        return args["u"].derivative(t) + args["u"](t) - y

    u = CubicHermite(np.linspace(0.0, 2.0, 5), np.sin(np.linspace(0.0, 6.0, 5)))
    ys, inputs = jax.jit(lambda u: (nj.odeint(field, 1.0, TS, {"u": u}, controller=PI).ys, u(TS)))(u)
    np.testing.assert_allclose(ys, inputs + np.exp(-TS) * (1 - inputs[0]), atol=3e-6)


def test_diffrax_steps_over_knots_too(x64):
    sol = solve(solver=diffrax.Tsit5())
    np.testing.assert_allclose(sol.ys, exact(TS), rtol=1e-5)
    assert int(sol.stats.num_rejected) <= 2


def test_steps_of_one_size_through_diffrax_refuse_a_hold():
    with pytest.raises(ValueError, match="do not end at the knots of a zero-order hold"):
        solve(solver=diffrax.Euler(), controller=nj.ConstantStep(0.1))


def test_a_batch_has_knots_levels_and_times_of_its_own(x64):
    """Of one length by repeating the last knot; the second goes back in time."""
    ts = np.array([TS, TS[::-1], TS + 0.2])
    knots = np.array([[0.0, 0.5, 1.0, 1.7], [0.0, 0.9, 0.9, 0.9], [0.1, 0.6, 2.0, 2.0]])
    levels = np.array([[1.0, 2.0, -1.0, 5.0], [3.0, -3.0, np.nan, np.nan], [2.0, np.nan, 1.0, 1.0]])

    def run(knots, levels):
        u = jax.vmap(ZeroOrderHold)(knots, levels)
        axes = (None, 0, {"u": 0})
        settings = {"lanes": 2, "controller": PI, "save": lambda t, y, args: {"y": y, "u": args["u"](t)}}
        return nj.odeint_batch(relax, 1.0, ts, {"u": u}, in_axes=axes, **settings)

    sol = jax.jit(run)(knots, levels)
    filled = np.array([levels[0], [3.0, -3.0, -3.0, -3.0], [2.0, 2.0, 1.0, 1.0]])
    for i in range(3):
        np.testing.assert_allclose(sol.ys["y"][i], exact(ts[i], knots=knots[i], levels=filled[i]), rtol=1e-6)
        held = filled[i][np.searchsorted(knots[i], ts[i], side="right") - 1]
        np.testing.assert_array_equal(sol.ys["u"][i], held)
    assert int(jnp.max(sol.stats.num_rejected)) <= 1


def test_a_batch_shares_a_hold_and_steps_between_times(x64):
    u = ZeroOrderHold(KNOTS, LEVELS)
    settings = {"solver": nj.RK4(), "controller": nj.FixedSteps(10)}
    ys = jax.jit(lambda y0s: nj.odeint_batch(relax, y0s, TS, {"u": u}, **settings).ys)(jnp.ones(2))
    np.testing.assert_allclose(ys, [exact(TS)] * 2, atol=1e-6)


def test_a_batch_of_paths_without_its_axis_in_in_axes_is_an_error_that_says_so():
    paths = jax.jit(jax.vmap(Linear))(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected one path, got a batch of shape"):
        nj.odeint_batch(relax, jnp.ones(2), TS, {"u": paths})


def test_times_that_turn_out_unsorted_end_a_solve_as_not_finite():
    sol = jax.jit(lambda ts: nj.odeint(relax, 1.0, TS, {"u": Linear(ts, ts)}))(jnp.array([0.0, 2.0, 1.0]))
    assert int(sol.status) == nj.Status.non_finite
