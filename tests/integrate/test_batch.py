"""`odeint_batch`: every trajectory is solved as if it were alone, whatever the lanes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.integrate.batch_cases import (
    BATCH,
    OTHERS,
    PI,
    Inputs,
    Oscillators,
    axes_of,
    inputs,
    keywords_of,
    solve_batch,
    solve_each,
)

LANES = (None, 1, 3, 40)
SOLVES = [
    *(("Tsit5", is_ragged, lanes) for is_ragged in (False, True) for lanes in LANES),
    *((name, is_ragged, lanes) for name in OTHERS for is_ragged, lanes in ((False, None), (True, 3))),
]
"""Setting, whether each trajectory has times of its own, lanes: all for Tsit5, two for each of the others."""


@functools.cache
def _solved(name, is_ragged, num_times):
    x = inputs(num_times, is_ragged, is_pair=name == "StormerVerlet")
    return x, jax.device_get(jax.jit(lambda x: solve_each(x, **keywords_of(name)))(x))


@pytest.mark.parametrize(("name", "is_ragged", "lanes"), SOLVES)
def test_a_batch_equals_its_trajectories_alone(x64, name, is_ragged, lanes):
    x, each = _solved(name, is_ragged, 6)
    sol = jax.jit(lambda x: solve_batch(x, lanes, **keywords_of(name)))(x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10), sol.ys, each.ys)
    np.testing.assert_array_equal(sol.status, each.status)
    for count in ("num_accepted", "num_rejected", "num_evals"):
        np.testing.assert_array_equal(getattr(sol.stats, count), getattr(each.stats, count))


@pytest.mark.parametrize("lanes", [None, 3])
@pytest.mark.parametrize("num_times", [1, 2])
def test_ends_alone_equal_those_of_the_trajectories(x64, num_times, lanes):
    x, each = _solved("Tsit5", False, num_times)
    sol = jax.jit(lambda x: solve_batch(x, lanes, **keywords_of("Tsit5")))(x)
    np.testing.assert_allclose(sol.ys, each.ys, rtol=1e-9)
    np.testing.assert_array_equal(sol.stats.num_accepted, each.stats.num_accepted)


def test_the_order_of_the_trajectories_changes_nothing_but_the_order(x64):
    x = inputs()
    order = jnp.array([3, 1, 6, 0, 5, 2, 4])
    args = {**x.args, "damping": x.args["damping"][order]}
    solve = jax.jit(lambda x: solve_batch(x, 3, controller=PI).ys)
    mixed = solve(x._replace(y0s=x.y0s[order], args=args))
    np.testing.assert_allclose(mixed, solve(x)[order], rtol=1e-9)


def test_the_last_trajectories_go_on_in_fewer_lanes(x64):
    """Forty of them in 32 lanes, of which the last is the stiffest."""
    y0s, damping = jnp.tile(jnp.array([[2.0, 0.0]]), (40, 1)), jnp.ones(40).at[-1].set(15.0)
    x = Inputs(Oscillators(jnp.asarray(1.0)), y0s, jnp.linspace(0.0, 8.0, 5), {"damping": damping, "push": 0.0})
    each = jax.device_get(jax.jit(lambda x: solve_each(x, controller=PI))(x))
    sol = jax.jit(lambda x: solve_batch(x, 32, controller=PI))(x)
    np.testing.assert_allclose(sol.ys, each.ys, rtol=1e-7)
    steps = each.stats.num_accepted + each.stats.num_rejected
    assert int(sol.stats.num_executed) < 32 * (2 * steps[0] + 32) + 4 * steps[-1]


@pytest.mark.parametrize("is_sharded", [False, True], ids=["one device", "a mesh"])
def test_a_hint_of_the_cost_changes_who_waits_and_no_result(x64, is_sharded):
    """The stiffest comes last, or starts first by its hint."""
    y0s, damping = jnp.tile(jnp.array([[2.0, 0.0]]), (13, 1)), jnp.ones(13).at[-1].set(30.0)
    x = Inputs(Oscillators(jnp.asarray(1.0)), y0s, jnp.linspace(0.0, 8.0, 5), {"damping": damping, "push": 0.0})
    mesh = jax.make_mesh((1,), ("data",)) if is_sharded else None

    def loss(y0s, hint):
        sol = solve_batch(x._replace(y0s=y0s), 4, controller=PI, cost_hint=hint, mesh=mesh)
        return jnp.sum(sol.ys**2), sol

    run = jax.jit(jax.grad(loss, has_aux=True))
    (plain_bar, plain), (hinted_bar, hinted) = run(x.y0s, None), run(x.y0s, damping)
    np.testing.assert_allclose(hinted.ys, plain.ys, rtol=1e-9)
    np.testing.assert_allclose(hinted_bar, plain_bar, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(hinted.stats.num_accepted, plain.stats.num_accepted)
    assert float(hinted.stats.batch_efficiency) > 1.1 * float(plain.stats.batch_efficiency)
    with pytest.raises(ValueError, match=r"cost_hint to be one number for each trajectory, shape \(13,\), got \(3,\)"):
        solve_batch(x, 4, cost_hint=jnp.ones(3))


def test_the_longest_of_ragged_times_starts_first(x64):
    """Rows of times in rising length, of which the longest would start last in the order of the batch."""
    x = inputs()
    spans = jnp.linspace(0.1, 4.0, len(x.y0s))[:, None]
    ragged = x._replace(ts=spans * jnp.linspace(0.0, 1.0, 6))
    solve = jax.jit(lambda x, hint: solve_batch(x, 2, controller=PI, cost_hint=hint))
    by_span, by_batch = solve(ragged, None), solve(ragged, -jnp.arange(len(x.y0s)))
    np.testing.assert_allclose(by_span.ys, by_batch.ys, rtol=1e-9)
    assert float(by_span.stats.batch_efficiency) > float(by_batch.stats.batch_efficiency)


def test_lanes_stay_busy():
    x = inputs(2)
    in_lanes, at_once = (solve_batch(x, lanes).stats for lanes in (2, None))
    assert float(in_lanes.batch_efficiency) > float(at_once.batch_efficiency) > 0.2
    needed = jnp.sum(at_once.num_accepted + at_once.num_rejected)
    np.testing.assert_allclose(at_once.batch_efficiency, needed / at_once.num_executed)
    with pytest.raises(ValueError, match="odeint_batch"):
        _ = nj.odeint(x.field, x.y0s[0], x.ts, {"damping": 1.0, "push": 0.0}).stats.batch_efficiency


@pytest.mark.parametrize("lanes", [None, 3])
def test_a_trajectory_that_fails_disturbs_no_other(lanes):
    def field(t, y, args):
        return jnp.where(t > args, jnp.inf, -y)

    breaks = jnp.full(BATCH, 9.0)
    y0s, ts = jnp.ones((BATCH, 2)), jnp.linspace(0.0, 1.0, 5)
    solve = jax.jit(lambda y0s, breaks: nj.odeint_batch(field, y0s, ts, breaks, in_axes=(0, None, 0), lanes=lanes))
    healthy = solve(y0s, breaks)
    sick = solve(y0s.at[1].set(jnp.nan), breaks.at[4].set(0.6))
    others = np.array([0, 2, 3, 5, 6])
    np.testing.assert_array_equal(sick.ys[others], healthy.ys[others])
    assert [nj.Status(int(status)).name for status in sick.status[np.array([1, 4])]] == ["non_finite"] * 2
    assert np.isnan(sick.ys[1, 1:]).all()
    np.testing.assert_array_equal(sick.ys[4, :3], healthy.ys[4, :3])
    assert np.isnan(sick.ys[4, 3:]).all()
    with pytest.raises(nj.SolveError, match="2 of 7 solves failed, the first at index 1"):
        nj.check(sick)


@pytest.mark.parametrize("lanes", [None, 3])
def test_a_full_tape_is_a_status(lanes):
    sol = solve_batch(inputs(), lanes, max_rows=5, controller=PI)
    assert set(np.asarray(sol.status)) == {nj.Status.tape_full}
    assert np.isfinite(sol.ys[:, 0]).all()
    assert np.isnan(sol.ys[:, -1]).all()
    with pytest.raises(nj.SolveError, match="raise max_rows"):
        nj.check(sol)


def test_rows_of_times_that_are_traced_and_unsorted_are_a_status():
    x = inputs(is_ragged=True)
    bad = x._replace(ts=x.ts.at[1, 2].set(9.0))
    sol = jax.jit(solve_batch)(bad)
    assert int(sol.status[1]) == nj.Status.invalid_input
    assert set(np.asarray(sol.status[jnp.array([0, 2, 3, 4, 5, 6])])) == {0}


def test_costs_and_save_are_those_of_the_trajectories(x64):
    x = inputs()
    keywords = {
        "record": ("error", "stiffness"),
        "save": lambda t, y, args: {"r": t * jnp.sum(y**2) * args["damping"]},
        "controller": PI,
    }
    each = jax.jit(lambda x: solve_each(x, **keywords))(x)
    sol = jax.jit(lambda x: solve_batch(x, 3, **keywords))(x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-8), sol.ys, each.ys)
    # The estimate of stiffness is a quotient of differences, in which digits cancel.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), sol.costs, each.costs)


@pytest.mark.parametrize("lanes", [64, 8, 2])
@pytest.mark.parametrize("max_steps", [16, 4096])
def test_short_trajectories_fit_the_tape(lanes, max_steps):
    """A chunk that ends early leaves a part of the tape unused."""
    rates = jnp.linspace(0.1, 3.0, 200)
    for controller in (nj.PIController(), nj.FixedSteps(16)):
        sol = jax.jit(
            lambda a, controller=controller: nj.odeint_batch(
                lambda t, y, a: -a * y,
                jnp.ones((200, 1)),
                [0.0, 1.0],
                a,
                in_axes=(0, None, 0),
                controller=controller,
                lanes=lanes,
                max_steps=max_steps,
            )
        )(rates)
        assert not np.any(sol.status)


def test_axes_may_be_counted_from_the_end():
    y0s, rates = jnp.arange(10.0).reshape(2, 5), jnp.arange(5.0)

    def field(t, y, a):
        return -a * y

    sol = nj.odeint_batch(field, y0s, [0.0, 1.0], rates, in_axes=(-1, None, np.int64(0)), lanes=np.int32(2))
    expected = nj.odeint_batch(field, y0s.T, [0.0, 1.0], rates, in_axes=(0, None, 0), lanes=2)
    np.testing.assert_array_equal(sol.ys, expected.ys)


def test_another_tolerance_or_queue_does_not_trace_again():
    traces = []

    def field(t, y, args):
        traces.append(1)
        return -y

    for rtol in (1e-3, 1e-4):
        nj.odeint_batch(field, jnp.ones((4, 1)) * rtol, [0.0, 1.0], controller=nj.PIController(rtol=rtol), lanes=2)
        traces.append(0)
    first, second = np.flatnonzero(np.array(traces) == 0)
    assert first > 0
    assert second == first + 1


def test_an_integrator_holds_the_settings():
    x = inputs(3)
    integrator = nj.Integrator(solver=nj.Bosh3(), controller=nj.PIController(rtol=1e-3), max_steps=99)
    sol = integrator.batch(x.field, x.y0s, x.ts, x.args, in_axes=axes_of(x), lanes=2)
    expected = solve_batch(x, 2, solver=nj.Bosh3(), controller=nj.PIController(rtol=1e-3), max_steps=99)
    np.testing.assert_array_equal(sol.ys, expected.ys)


def decay(t, y, args):
    return -y


def test_the_cure_for_forward_mode_and_for_forgotten_axes_is_named():
    with pytest.raises(TypeError, match=r"jax\.vmap over nj\.odeint"):
        jax.jvp(lambda y0s: nj.odeint_batch(decay, y0s, [0.0, 1.0]).ys, (jnp.ones((3, 2)),), (jnp.ones((3, 2)),))
    with pytest.raises(TypeError, match="incompatible shapes") as caught:
        nj.odeint_batch(lambda t, y, a: -a * y, jnp.ones((5, 2)), [0.0, 1.0], jnp.ones(5))
    assert "in_axes=(0, None, 0)" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"in_axes": (0, None)}, "a tuple of three"),
        ({"in_axes": 0}, "a tuple of three"),
        ({"in_axes": (None, None, None)}, "to map something"),
        ({"in_axes": (2, None, None)}, "an axis 2 of trajectories"),
        ({"in_axes": (0, None, 0), "args": jnp.ones(3)}, "4 at y0s, 3 at args"),
        ({"in_axes": (0, None, 0), "args": 1.0}, "args to have an axis 0"),
        ({"in_axes": ({"a": 0}, None, None)}, "a tree of them that fits y0s"),
        ({"ts": np.ones((4, 2))}, "in_axes=\\(0, 0, None\\)"),
        ({"ts": [[0.0, 1.0], [0.0]]}, "rows of ts of one length"),
        ({"y0s": [[1.0, 2.0]] * 4}, "write jnp.array"),
        ({"y0s": jnp.ones((4, 2), int)}, "odeint_batch: expected a floating-point state"),
        ({"in_axes": (0, 0, None)}, "shape \\(batch, time\\)"),
        ({"in_axes": (0, 0, None), "ts": np.array([[0.0, 1.0]] * 3 + [[1.0, 2.0]])[:3]}, "4 at y0s, 3 at ts"),
        ({"in_axes": (0, 0, None), "ts": np.array([[0, 1, 2.0]] * 3 + [[0, 2, 1.0]])}, "row 3 of ts"),
        ({"in_axes": (0, 0, None), "ts": np.array([[0, 1, 2.0]] * 3 + [[0, np.nan, 1.0]])}, "row 3 of ts"),
        ({"lanes": 0}, "lanes to be an integer of at least 1"),
        ({"max_rows": 2.5}, "max_rows to be an integer of at least 1"),
        ({"adjoint": nj.BacksolveAdjoint()}, "BacksolveAdjoint differentiates one solve at a time"),
        ({"record": "nothing"}, "names out of"),
        ({"y0s": jnp.ones((0, 2))}, "at least one trajectory"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(keywords, message):
    call = {"y0s": jnp.ones((4, 2)), "ts": [0.0, 1.0], "args": None, **keywords}
    with pytest.raises((TypeError, ValueError), match=message):
        nj.odeint_batch(decay, call.pop("y0s"), call.pop("ts"), call.pop("args"), **call)


def test_times_that_are_no_real_numbers_are_refused_under_jit_too():
    solve = jax.jit(lambda ts: nj.odeint_batch(lambda t, y, args: -y, jnp.ones((3, 2)), ts).ys)
    with pytest.raises(TypeError, match="odeint_batch: expected ts to hold real numbers"):
        solve(jnp.array([0.0, 2.0j]))


def test_a_list_may_hold_a_traced_time():
    end = jax.jit(lambda t1: nj.odeint_batch(lambda t, y, args: -y, jnp.ones((3, 2)), [0.0, t1]).ys[:, -1])
    np.testing.assert_allclose(end(1.0), np.exp(-1.0), rtol=1e-4)
