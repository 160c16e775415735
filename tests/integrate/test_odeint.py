"""`odeint` is right, ends, counts what it does, and compiles once."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.problems import PROBLEMS


def decay(t, y, args):
    return -y


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_error_follows_the_tolerance(precision, problem):
    rtol = 1e-5 if precision == "float32" else 1e-9
    ts = np.linspace(0, problem.t1, 17)
    controller = nj.PIController(rtol=rtol, atol=rtol)
    sol = nj.check(nj.odeint(problem.field, jnp.array(problem.y0), ts, controller=controller))
    assert sol.ys.dtype == precision
    np.testing.assert_allclose(sol.ys, problem.exact(ts), atol=20 * rtol, rtol=20 * rtol)


@pytest.mark.parametrize("solver", ["native", "diffrax"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_backward_in_time_returns_to_the_start(x64, problem, solver):
    ts = np.linspace(problem.t1, 0, 9)
    y1 = problem.exact(np.array(problem.t1))
    chosen = nj.Tsit5() if solver == "native" else diffrax.Tsit5()
    controller = nj.PIController(rtol=1e-9, atol=1e-9)
    sol = nj.odeint(problem.field, jnp.asarray(y1), ts, solver=chosen, controller=controller)
    np.testing.assert_allclose(sol.ys, problem.exact(ts), atol=1e-7)


def test_outputs_between_steps_at_steps_and_repeated(x64):
    ts = jnp.array([0.0, 0.0, 0.1, 0.25, 0.25, 0.25, 0.5, 1.0, 1.0])
    controller = nj.ConstantStep(0.25)
    sol = nj.odeint(decay, jnp.ones(1), ts, solver=nj.RK4(), controller=controller)
    np.testing.assert_allclose(sol.ys[:, 0], np.exp(-np.asarray(ts)), atol=2e-4)
    assert sol.ys[0, 0] == sol.ys[1, 0] == 1
    assert sol.ys[3, 0] == sol.ys[4, 0] == sol.ys[5, 0]
    assert sol.ys[7, 0] == sol.ys[8, 0]
    assert int(sol.stats.num_accepted) == 4


def test_many_outputs_in_one_step_equal_those_of_a_few():
    many = jnp.linspace(0, 1, 301)
    full = nj.odeint(decay, jnp.ones(3), many)
    few = nj.odeint(decay, jnp.ones(3), many[::100])
    np.testing.assert_allclose(full.ys[::100], few.ys, rtol=1e-6)
    assert int(full.stats.num_accepted) == int(few.stats.num_accepted)


def test_start_only_and_start_equal_to_end():
    one = nj.odeint(decay, jnp.ones(2), jnp.array([3.0]))
    assert one.ys.shape == (1, 2)
    assert int(one.status) == nj.Status.success
    for ts in ([1.0, 1.0], [1.0, 1.0, 1.0]):
        same = nj.odeint(decay, jnp.ones(2), jnp.array(ts))
        np.testing.assert_array_equal(same.ys, np.ones((len(ts), 2)))
        assert int(same.stats.num_accepted) == 0


def test_pytree_states_scalars_and_empty_leaves():
    y0 = {"a": jnp.array(1.0), "b": (jnp.ones((2, 3)), jnp.zeros((0,)))}
    sol = nj.odeint(lambda t, y, args: jax.tree.map(lambda x: -args * x, y), y0, jnp.linspace(0, 1, 4), 2.0)
    np.testing.assert_allclose(sol.ys["a"], np.exp(-2 * np.linspace(0, 1, 4)), rtol=1e-3)
    assert sol.ys["b"][0].shape == (4, 2, 3)
    assert sol.ys["b"][1].shape == (4, 0)
    scalar = nj.odeint(decay, 1.0, [0, 1])
    assert scalar.ys.shape == (2,)


def test_a_low_precision_state_keeps_its_dtype():
    controller = nj.PIController(rtol=1e-2, atol=1e-2)
    sol = nj.odeint(
        lambda t, y, args: -args * y, jnp.ones(2, jnp.bfloat16), [0.0, 0.5, 1.0], 1.0, controller=controller
    )
    assert sol.ys.dtype == jnp.bfloat16
    assert sol.ts.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(sol.ys[-1], float), np.exp(-1), atol=0.03)


def test_evaluations_are_counted_exactly(x64):
    calls = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sin(20 * t) * y

    sides = ((nj.Tsit5(), nj.PIController()), (nj.RK4(), nj.ConstantStep(0.11)), (nj.Dopri8(), nj.PIController()))
    for solver, controller in sides:
        calls.clear()
        sol = nj.odeint(field, jnp.ones(1), [0.0, 0.3, 2.0], solver=solver, controller=controller)
        jax.block_until_ready(sol.ys)
        jax.effects_barrier()
        assert int(sol.stats.num_evals) == len(calls)


def test_dense_output_that_costs_evaluations_is_made_only_where_it_is_read(x64):
    def num_evals(ts, **keywords):
        controller = nj.PIController(rtol=1e-9, atol=1e-9)
        sol = nj.odeint(decay, jnp.ones(1), ts, 3.0, solver=nj.Dopri8(), controller=controller, **keywords)
        return int(sol.stats.num_evals), int(sol.stats.num_accepted)

    # Programs differ in rounding: the last step is neither tiny nor almost what the controller asks for.
    ends, num_steps = num_evals([0.0, 1.8])
    # One output inside, and the last one: two steps hold an output.
    assert num_evals([0.0, 0.7, 1.8]) == (ends + 2 * 3, num_steps)
    assert num_evals([0.0, 0.7, 0.7, 1.8]) == (ends + 2 * 3, num_steps)
    assert num_evals([0.0, 1.8], dense=True) == (ends + num_steps * 3, num_steps)


def test_constant_steps_clip_the_last_and_do_not_drift():
    sol = nj.odeint(decay, jnp.ones(1), [0.0, 1.05], solver=nj.RK4(), controller=nj.ConstantStep(0.1))
    assert int(sol.stats.num_accepted) == 11
    many = nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver=nj.RK4(), controller=nj.ConstantStep(1e-3))
    assert int(many.stats.num_accepted) == 1000


def test_float32_reaches_a_large_end_time_exactly():
    def oscillator(t, y, args):
        return jnp.stack([y[1], -y[0]])

    sol = nj.odeint(oscillator, jnp.array([1.0, 0.0]), jnp.array([0.0, 300.0, 600.0]))
    assert int(sol.status) == nj.Status.success
    assert np.isfinite(np.asarray(sol.ys)).all()


def test_the_first_step_is_near_hairers(x64):
    """A slow field on a long interval must not crawl, a fast one must not be rejected again and again."""
    slow = nj.odeint(lambda t, y, args: -1e-4 * y, jnp.ones(1), [0.0, 1e4])
    assert int(slow.stats.num_accepted) < 15
    far = nj.odeint(lambda t, y, args: -1e-30 * y, jnp.ones(1), [0.0, 1e30])
    assert int(far.stats.num_accepted) < 20
    fast = nj.odeint(lambda t, y, args: -1e4 * y, jnp.ones(1), [0.0, 1e-3])
    assert int(fast.stats.num_rejected) <= 1


BLOW_UPS = {
    "blow-up": (lambda t, y, args: y * y, (nj.Status.dt_underflow, nj.Status.non_finite)),
    "infinite": (lambda t, y, args: jnp.where(t > 1, jnp.inf, 1.0) * y, (nj.Status.non_finite,)),
    "not a number": (lambda t, y, args: jnp.sqrt(1 - t) * y, (nj.Status.non_finite,)),
    "nan at once": (lambda t, y, args: jnp.nan * y, (nj.Status.non_finite,)),
}


@pytest.mark.parametrize("name", BLOW_UPS)
@pytest.mark.parametrize("solver", [nj.Tsit5(), nj.RK4()], ids=["adaptive", "constant"])
def test_failure_is_a_status_with_nan_rows(precision, name, solver):
    field, statuses = BLOW_UPS[name]
    controller = nj.PIController() if solver.has_error_estimate else nj.ConstantStep(0.01)
    sol = nj.odeint(field, jnp.ones(1), jnp.array([0.0, 0.5, 1.5, 3.0]), solver=solver, controller=controller)
    assert int(sol.status) in (*statuses, nj.Status.non_finite)
    assert np.isnan(np.asarray(sol.ys[2:])).all()
    assert np.isfinite(np.asarray(sol.ys[0])).all()
    assert int(sol.stats.num_accepted + sol.stats.num_rejected) < 4096
    with pytest.raises(nj.SolveError, match="The solve failed: the"):
        nj.check(sol)


def test_max_steps_and_dtmin_end_a_solve():
    sol = nj.odeint(lambda t, y, args: jnp.cos(300 * t) * y, jnp.ones(1), [0.0, 1e3, 2e3], max_steps=50)
    assert int(sol.status) == nj.Status.max_steps
    assert int(sol.stats.num_accepted + sol.stats.num_rejected) == 50
    controller = nj.PIController(dtmin=0.1)
    sol = nj.odeint(lambda t, y, args: jnp.cos(300 * t) * y, jnp.ones(1), [0.0, 1e3], controller=controller)
    assert int(sol.status) == nj.Status.dt_underflow


@pytest.mark.parametrize("t0", [2100.0, 1e4, 1e6])
def test_a_small_state_far_from_time_zero_starts(t0):
    sol = nj.odeint(lambda t, y, args: 1.0 - y, jnp.zeros(1), jnp.array([t0, t0 + 10]))
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys[-1], 1 - np.exp(-10), rtol=1e-3)


def test_low_precision_times_run():
    sol = nj.odeint(decay, jnp.ones(2), jnp.linspace(0, 1, 3, dtype=jnp.bfloat16))
    assert sol.ts.dtype == jnp.bfloat16
    np.testing.assert_allclose(sol.ys[-1], np.exp(-1), rtol=0.05)


def test_times_too_far_from_zero_for_their_precision_underflow_at_once():
    sol = nj.odeint(lambda t, y, args: -10.0 * y, jnp.ones(1), jnp.array([1e8, 1e8 + 16]))
    assert int(sol.status) == nj.Status.dt_underflow
    assert int(sol.stats.num_accepted) == 0


def test_traced_times_that_are_not_sorted_give_a_status():
    solve = jax.jit(lambda ts: nj.odeint(decay, jnp.ones(1), ts))
    assert int(solve(jnp.array([0.0, 2.0, 1.0])).status) == nj.Status.invalid_input
    assert int(solve(jnp.array([0.0, jnp.nan, 1.0])).status) == nj.Status.invalid_input
    assert int(solve(jnp.array([jnp.nan])).status) == nj.Status.invalid_input
    # As many as their number squared is no 32-bit integer.
    assert int(solve(jnp.tile(jnp.array([0.0, 1.0]), 2**16)).status) == nj.Status.invalid_input
    assert int(solve(jnp.array([0.0, 1.0, 2.0])).status) == nj.Status.success


@pytest.mark.parametrize("ts", [jnp.array([0.0, 2.0j]), jnp.array([False, True])])
def test_times_that_are_no_real_numbers_are_refused_under_jit_too(ts):
    with pytest.raises(TypeError, match="ts to hold real numbers"):
        jax.jit(lambda ts: nj.odeint(lambda t, y, args: -y, jnp.ones(2), ts).ys)(ts)


def test_a_list_may_hold_a_traced_time():
    end = jax.jit(lambda t1: nj.odeint(lambda t, y, args: -y, jnp.ones(2), [0.0, t1]).ys[-1])
    np.testing.assert_allclose(end(1.0), np.exp(-1.0), rtol=1e-4)


def test_rows_under_vmap_do_not_disturb_each_other():
    y0 = jnp.array([[0.1], [1.0], [jnp.nan]])
    ts = jnp.linspace(0, 2, 5)
    sol = jax.vmap(lambda y: nj.odeint(lambda t, y, args: y * y, y, ts))(y0)
    alone = nj.odeint(lambda t, y, args: y * y, y0[0], ts)
    np.testing.assert_allclose(sol.ys[0], alone.ys, rtol=1e-6)
    assert [int(s) for s in sol.status[:1]] == [0]
    with pytest.raises(nj.SolveError, match="2 of 3 solves failed, the first at index 1"):
        nj.check(sol)


def test_a_second_call_and_another_tolerance_do_not_trace_again():
    traces = []

    def field(t, y, args):
        traces.append(1)
        return -args * y

    for rtol in (1e-3, 1e-4, 1e-5):
        for rate in (1.0, 2.0):
            nj.odeint(field, jnp.ones(2), [0.0, 1.0], rate, controller=nj.PIController(rtol=rtol))
    assert len(traces) == 1


@pytest.mark.parametrize("solver", [nj.Tsit5(), nj.RK4()], ids=["Tsit5", "RK4"])
def test_no_callback_in_the_jaxpr(solver):
    controller = nj.PIController() if solver.has_error_estimate else nj.ConstantStep(0.1)

    def loss(y0):
        return jnp.sum(nj.odeint(decay, y0, jnp.linspace(0, 1, 5), solver=solver, controller=controller).ys)

    assert "callback" not in str(jax.make_jaxpr(jax.grad(loss))(jnp.ones(2)))


def test_integrator_is_odeint_with_its_settings():
    integrator = nj.Integrator(nj.RK4(), nj.ConstantStep(0.1), max_steps=64)
    one = integrator(decay, jnp.ones(1), [0.0, 1.0])
    two = nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver=nj.RK4(), controller=nj.ConstantStep(0.1), max_steps=64)
    np.testing.assert_array_equal(one.ys, two.ys)


@pytest.mark.parametrize("name", ["Tsit5", "Dopri5", "Kvaerno5", "Euler"])
def test_diffrax_solvers_run_through_the_same_call(x64, name):
    solver = getattr(diffrax, name)()
    adaptive = isinstance(solver, diffrax.AbstractAdaptiveSolver) and name != "Euler"
    controller = nj.PIController(rtol=1e-7, atol=1e-7) if adaptive else nj.ConstantStep(1e-3)
    ts = jnp.array([0.0, 0.0, 0.5, 1.0, 1.0])
    sol = nj.check(nj.odeint(decay, jnp.ones(1), ts, solver=solver, controller=controller))
    np.testing.assert_allclose(sol.ys[:, 0], np.exp(-np.asarray(ts)), atol=1e-3)
    assert int(sol.stats.num_evals) == -1
    assert int(sol.stats.num_accepted) > 0


def test_a_diffrax_solve_that_fails_gives_the_same_status_and_nan():
    ts = jnp.array([0.0, 1e3, 2e3])
    sol = nj.odeint(lambda t, y, args: jnp.cos(300 * t) * y, jnp.ones(1), ts, solver=diffrax.Tsit5(), max_steps=50)
    assert int(sol.status) == nj.Status.max_steps
    assert np.isnan(np.asarray(sol.ys[1:])).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 2.0, 1.0]), ValueError, "sorted.*ts\\[1\\] = 2.0"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, float("nan")]), ValueError, "finite times.*ts\\[1\\]"),
        (lambda: nj.odeint(decay, jnp.ones(1), []), ValueError, "at least the initial time"),
        (lambda: nj.odeint(decay, jnp.ones(1), [[0.0], [0.0, 1.0]]), ValueError, "rows of different lengths"),
        (lambda: nj.odeint(decay, jnp.ones(1), 1.0), ValueError, "shape \\(time,\\)"),
        (lambda: nj.odeint(decay, jnp.array([1, 2]), [0.0, 1.0]), TypeError, "floating-point state.*astype"),
        (lambda: nj.odeint(decay, jnp.array([1j]), [0.0, 1.0]), TypeError, "real state"),
        (lambda: nj.odeint(decay, {}, [0.0, 1.0]), ValueError, "empty pytree"),
        (lambda: nj.odeint(decay, "y", [0.0, 1.0]), TypeError, "got str"),
        (lambda: nj.odeint(None, jnp.ones(1), [0.0, 1.0]), TypeError, "callable"),
        (lambda: nj.odeint(nj.fields.MLP, jnp.ones(1), [0.0, 1.0]), TypeError, "class MLP.*MLP\\(...\\)"),
        (lambda: nj.odeint(lambda t, y: -y, jnp.ones(1), [0.0, 1.0]), TypeError, "arguments \\(t, y\\)"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], record=None), TypeError, "record.*'error'.*got None"),
        (lambda: nj.odeint(lambda t, y, a: (y, y), jnp.ones(1), [0.0, 1.0]), ValueError, "(?s)state:.*derivative:"),
        (lambda: nj.odeint(lambda t, y, a: y[:1], jnp.ones(2), [0.0, 1.0]), ValueError, "shape \\(2,\\).*got \\(1,\\)"),
        (
            lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver=nj.RK4()),
            ValueError,
            "error estimate.*ConstantStep",
        ),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver=nj.Tsit5), TypeError, "with parentheses"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver="tsit5"), TypeError, "nj.Tsit5"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=1e-3), TypeError, "nj.PIController"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], adjoint="backsolve"), TypeError, "CheckpointedAdjoint"),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], max_steps=0), ValueError, "max_steps"),
        (
            lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(rtol=0.0)),
            ValueError,
            "rtol.*greater than 0",
        ),
        (
            lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=nj.ConstantStep(-0.1)),
            ValueError,
            "dt.*greater than 0",
        ),
        (
            lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(norm=None)),
            TypeError,
            "norm to be callable.*got None",
        ),
        (
            lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(factor_min=2.0)),
            ValueError,
            "factor_min < 1",
        ),
        (lambda: nj.odeint(decay, jnp.ones(1), [0.0, 1.0], solver=diffrax.Euler()), ValueError, "error estimate"),
    ],
)
def test_bad_input_says_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_check_inside_jit_says_where_to_call_it():
    with pytest.raises(TypeError, match="inside a jax transformation"):
        jax.jit(lambda y: nj.check(nj.odeint(decay, y, [0.0, 1.0])).ys)(jnp.ones(1))


def test_a_module_field_runs_and_an_equinox_mlp_too():
    net = eqx.nn.MLP(2, 2, 8, 1, key=jax.random.key(0))
    sol = nj.odeint(lambda t, y, args: net(y), jnp.ones(2), [0.0, 1.0])
    assert int(sol.status) == nj.Status.success
