"""Ten thousand generated problems, most of them hostile: every solve ends, and its status tells the truth."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import node_jax as nj
from tests import corpus

NUM_PROBLEMS = 10_000
NUM_GRADIENTS = 1000
CHUNK = 500
MAX_STEPS = 200
FULL_OPTIMIZATION = {"xla_backend_optimization_level": 3}
if jax.__version_info__ < (0, 11):
    FULL_OPTIMIZATION["xla_cpu_use_fusion_emitters"] = True
"""XLA's own defaults, for thousands of solves, and so that the corpus meets the programs that users run."""

FAILURES = (nj.Status.max_steps, nj.Status.dt_underflow, nj.Status.non_finite)


class Setting(NamedTuple):
    """A solver with its controller, and what they cost."""

    solver: Any
    controller: Callable[[corpus.Corpus], Any]
    """From the problem."""
    evals_before: int
    evals_per_attempt: int


SETTINGS = {
    "Tsit5": Setting(nj.Tsit5(), lambda p: nj.PIController(), 2, 6),
    "Bosh3": Setting(nj.Bosh3(), lambda p: nj.PIController(), 2, 3),
    "Dopri5 bounded": Setting(
        nj.Dopri5(), lambda p: nj.PIController(dtmin=1e-3 * p.dt, dtmax=p.dt, dt0=0.1 * p.dt), 1, 6
    ),
    "RK4 constant": Setting(nj.RK4(), lambda p: nj.ConstantStep(p.dt), 1, 4),
}


def solve(setting, problem, y0, coefficients, max_steps=MAX_STEPS):
    """One problem, with its initial state and coefficients replaced."""
    problem = problem._replace(y0=y0, coefficients=coefficients)
    controller = setting.controller(problem)
    return nj.odeint(
        corpus.field, y0, problem.ts, problem, solver=setting.solver, controller=controller, max_steps=max_steps
    )


def run_all(function, problems):
    """`function` of every problem in turn, one compilation for all; lax.map, so that none waits for another."""
    run = jax.jit(lambda chunk: jax.lax.map(function, chunk), compiler_options=FULL_OPTIMIZATION)
    num = len(problems.kind)
    parts = [jax.device_get(run(corpus.take(problems, slice(i, i + CHUNK)))) for i in range(0, num, CHUNK)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@functools.cache
def outcomes(name, dtype, only_ends=False):
    """All problems and their solutions; `only_ends` asks for the first and last time alone."""
    problems = corpus.generate(NUM_PROBLEMS, 0, dtype)
    if only_ends:
        problems = problems._replace(ts=problems.ts[:, [0, -1]])
    return problems, run_all(lambda p: solve(SETTINGS[name], p, p.y0, p.coefficients), problems)


def assert_none(is_wrong, problems):
    """Fail with the first few problems that are wrong."""
    found = np.flatnonzero(is_wrong)
    shown = [(int(i), corpus.KINDS[problems.kind[i]]) for i in found[:8]]
    assert found.size == 0, f"{found.size} of {is_wrong.size} problems, the first are {shown}"


def interpolation_can_overflow(problems):
    """Whether slopes may come near the largest number of the dtype, so that sums of them overflow between steps."""
    largest = float(np.finfo(problems.ts.dtype).max)
    slope = problems.y_scale.astype(float) / problems.t_scale * abs(problems.coefficients).astype(float).max((1, 2))
    return slope > 1e-10 * largest


every_setting = pytest.mark.parametrize("name", SETTINGS)


@pytest.mark.slow
@every_setting
def test_every_solve_ends_within_its_bounds_and_counts(precision, name):
    problems, sol = outcomes(name, precision)
    setting = SETTINGS[name]
    attempts = sol.stats.num_accepted + sol.stats.num_rejected
    assert_none(~np.isin(sol.status, (nj.Status.success, *FAILURES)), problems)
    assert_none(attempts > MAX_STEPS, problems)
    assert_none((sol.status == nj.Status.max_steps) & (attempts != MAX_STEPS), problems)
    assert_none(sol.stats.num_evals != setting.evals_before + setting.evals_per_attempt * attempts, problems)
    if not setting.solver.has_error_estimate:
        assert_none(sol.stats.num_rejected > 1, problems)


@every_setting
def test_every_status_occurs(precision, name):
    """A control: the other claims would say little of a corpus that is tame."""
    if name == "RK4 constant" and precision == "float64":
        pytest.skip("a constant step is never below the spacing of these times")
    counts = np.bincount(outcomes(name, precision)[1].status, minlength=len(nj.Status))
    assert counts[nj.Status.success] > 0.3 * NUM_PROBLEMS
    assert all(counts[status] > 0.02 * NUM_PROBLEMS for status in FAILURES), counts


@every_setting
def test_success_means_finite_rows(precision, name):
    problems, sol = outcomes(name, precision)
    is_finite = np.isfinite(sol.ys).all((1, 2))
    assert_none((sol.status == nj.Status.success) & ~is_finite, problems)


@every_setting
def test_failure_means_finite_rows_and_then_nan(precision, name):
    problems, sol = outcomes(name, precision)
    has_failed = sol.status != nj.Status.success
    is_nan = np.isnan(sol.ys).all(2)
    is_finite = np.isfinite(sol.ys).all(2)
    is_beyond = np.maximum.accumulate(is_nan, axis=1)
    assert_none(has_failed & (is_beyond & ~is_nan).any(1), problems)
    may_overflow = interpolation_can_overflow(problems)
    assert_none(has_failed & ~may_overflow & (~is_beyond & ~is_finite).any(1), problems)
    # Only where there is no way to go is the last row a value: it is the initial state then.
    is_point = problems.ts[:, 0] == problems.ts[:, -1]
    assert_none(has_failed & ~is_beyond[:, -1] & ~is_point, problems)
    assert_none(~is_finite[:, 0], problems)


@every_setting
def test_the_start_alone_succeeds_or_has_no_field(precision, name):
    problems, sol = outcomes(name, precision)
    is_point = problems.ts[:, 0] == problems.ts[:, -1]
    assert is_point.sum() > 100
    attempts = sol.stats.num_accepted + sol.stats.num_rejected
    is_allowed = np.isin(sol.status, (nj.Status.success, nj.Status.non_finite))
    assert_none(is_point & ~(is_allowed & (attempts == 0)), problems)


@every_setting
def test_rows_at_the_start_time_are_the_initial_state(precision, name):
    problems, sol = outcomes(name, precision)
    is_start = problems.ts == problems.ts[:, :1]
    assert_none((is_start & (sol.ys != problems.y0[:, None]).any(2)).any(1), problems)


@every_setting
def test_repeated_times_give_equal_rows(precision, name):
    problems, sol = outcomes(name, precision)
    is_repeat = problems.ts[:, 1:] == problems.ts[:, :-1]
    assert is_repeat.mean() > 0.1
    later, earlier = sol.ys[:, 1:], sol.ys[:, :-1]
    is_equal = (later == earlier) | (np.isnan(later) & np.isnan(earlier))
    assert_none((is_repeat & ~is_equal.all(2)).any(1), problems)


@every_setting
def test_a_row_is_at_its_time(precision, name):
    """The clock among the components says at what time a row was taken, the last row at the last time included."""
    problems, sol = outcomes(name, precision)
    clock = (problems.ts - problems.ts[:, :1]) * problems.clock_rate[:, None]
    is_reached = np.isfinite(sol.ys[:, :, -1])
    gap = np.where(is_reached & (problems.clock_rate != 0)[:, None], abs(sol.ys[:, :, -1] - clock), 0)
    assert_none((gap > 1000 * np.finfo(precision).eps).any(1), problems)


@pytest.mark.slow
@every_setting
def test_rows_in_between_change_no_outcome(precision, name):
    """A last bit may fall differently in two programs, and decide whether a pole is met: a few may differ."""
    _, many = outcomes(name, precision)
    problems, ends = outcomes(name, precision, only_ends=True)
    assert (many.status != ends.status).mean() < 0.002
    is_way = problems.ts[:, 0] != problems.ts[:, 1]
    is_end = np.where((ends.status == nj.Status.success)[:, None], np.isfinite(ends.ys[:, 1]), np.isnan(ends.ys[:, 1]))
    assert_none(is_way & ~is_end.all(1), problems)


def test_what_scipy_solves_is_solved_and_right(x64):
    """Tame problems that DOP853 solves at 1e-10 end in success, within a modest multiple of the tolerance."""
    problems = corpus.generate(300, 1, "float64")
    kinds = [corpus.KINDS.index(kind) for kind in ("smooth", "forced", "stiff", "pole in state")]
    is_tame = np.isin(problems.kind, kinds) & (problems.y_scale == 1) & (abs(problems.ts[:, 0]) < 1e3)
    problems = corpus.take(problems, np.flatnonzero(is_tame & (problems.ts[:, 0] != problems.ts[:, -1])))
    tol = 1e-7

    setting = SETTINGS["Tsit5"]._replace(controller=lambda p: nj.PIController(rtol=tol, atol=tol))
    sol = run_all(lambda p: solve(setting, p, p.y0, p.coefficients, 2000), problems)
    num_compared = 0
    for i in range(len(problems.kind)):
        exact = solve_with_scipy(corpus.take(problems, i), max_evals=1000)
        if exact is None or abs(exact).max() > 1e3:
            continue
        num_compared += 1
        assert sol.status[i] == nj.Status.success, i
        allowed = 100 * tol * (1 + abs(exact).max())
        np.testing.assert_allclose(sol.ys[i, -1], exact, rtol=0, atol=allowed, err_msg=str(i))
    assert num_compared > 20


def solve_with_scipy(problem, max_evals):
    """The last state by DOP853 at 1e-10; `None` if it fails or takes too long."""
    on_device = jax.device_put(problem)
    num_evals = 0

    def derivative(t, y):
        nonlocal num_evals
        num_evals += 1
        if num_evals > max_evals:
            raise StopIteration
        return np.asarray(field_alone(t, y, on_device))

    span = (problem.ts[0], problem.ts[-1])
    try:
        with np.errstate(all="ignore"):
            sol = solve_ivp(derivative, span, problem.y0, method="DOP853", rtol=1e-10, atol=1e-12)
    except (StopIteration, ValueError):
        return None
    return sol.y[:, -1] if sol.success and np.isfinite(sol.y).all() else None


field_alone = jax.jit(corpus.field)


class Gradient(NamedTuple):
    """With respect to the initial state and to the coefficients."""

    y0: np.ndarray
    coefficients: np.ndarray


@functools.cache
def gradients(name, dtype):
    """The problems and their solutions; the gradients of the sum of all finite rows, and of the first row alone."""

    def pull_both(problem):
        def run(y0, coefficients):
            sol = solve(SETTINGS[name], problem, y0, coefficients, max_steps=100)
            return sol.ys, sol

        ys, pull, sol = jax.vjp(run, problem.y0, problem.coefficients, has_aux=True)
        # The cotangents of a loss that masks: zero in every row that is not counted.
        is_finite = jnp.isfinite(ys).all(axis=1)
        is_first = jnp.arange(ys.shape[0]) == 0
        masks = jnp.stack([is_finite, is_first])[:, :, None]
        bars = Gradient(*jax.lax.map(pull, jnp.broadcast_to(masks, (2, *ys.shape)).astype(ys.dtype)))
        return sol, *(jax.tree.map(lambda bar, i=i: bar[i], bars) for i in range(2))

    problems = corpus.generate(NUM_GRADIENTS, 2, dtype)
    return problems, *run_all(pull_both, problems)


with_gradients = pytest.mark.parametrize("name", ["Tsit5", "RK4 constant"])


@with_gradients
def test_a_solve_that_fails_before_its_first_step_has_the_gradient_of_its_first_rows(precision, name):
    problems, sol, bars, _ = gradients(name, precision)
    has_no_step = (sol.status != nj.Status.success) & (sol.stats.num_accepted == 0)
    num_rows = (problems.ts == problems.ts[:, :1]).sum(1)
    assert has_no_step.sum() > 20
    assert_none(has_no_step & (bars.y0 != num_rows[:, None]).any(1), problems)
    assert_none(has_no_step & (bars.coefficients != 0).any((1, 2)), problems)


@with_gradients
def test_rows_that_the_loss_masks_add_nothing_to_the_gradient(precision, name):
    problems, sol, _, bars = gradients(name, precision)
    has_failed = sol.status != nj.Status.success
    assert has_failed.sum() > 100
    assert_none(has_failed & ((bars.y0 != 1).any(1) | (bars.coefficients != 0).any((1, 2))), problems)


@with_gradients
def test_gradients_of_tame_solves_are_finite(precision, name):
    problems, sol, bars, _ = gradients(name, precision)
    kinds = [corpus.KINDS.index(kind) for kind in ("smooth", "forced", "jump in time", "NaN in time", "stiff")]
    is_tame = np.isin(problems.kind, kinds) & (problems.y_scale == 1) & (sol.status == nj.Status.success)
    is_tame &= (abs(sol.ys) < 1e3).all((1, 2))
    assert is_tame.sum() > 50
    assert_none(is_tame & ~(np.isfinite(bars.y0).all(1) & np.isfinite(bars.coefficients).all((1, 2))), problems)


@pytest.mark.parametrize(("solver", "limit"), [(nj.RK4(), 0.95), (nj.Midpoint(), 0.7), (nj.Ralston(), 0.95)])
def test_a_step_that_ends_where_there_is_no_field_is_no_success_with_nan(solver, limit):
    """Only the end of the step lies beyond `limit`, no stage does."""

    def field(t, y, args):
        return jnp.where(y > args, jnp.nan, 3 * t * t)

    controller = nj.PIController(1.0, 1.0, dt0=1.0) if solver.has_error_estimate else nj.ConstantStep(1.0)
    sol = nj.odeint(field, jnp.zeros(1), [0.0, 0.5, 1.0], limit, solver=solver, controller=controller)
    assert int(sol.status) != nj.Status.success or np.isfinite(np.asarray(sol.ys)).all()


@pytest.mark.parametrize("ends", [[0, 1], [0, 1, 1]])
def test_a_step_that_rounds_to_the_last_time_is_the_last(ends):
    t0 = np.float32(1e6)
    spacing = np.spacing(t0)
    controller = nj.ConstantStep(0.6 * float(spacing))
    ts = t0 + spacing * np.array(ends, np.float32)
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), ts, solver=nj.RK4(), controller=controller)
    assert np.isfinite(np.asarray(sol.ys)).all()
    assert int(sol.status) == nj.Status.success


@pytest.mark.parametrize(
    ("solver", "t0", "jump", "place"),
    [
        (nj.Tsit5(), 10.0, 1e4, 10.323728561401367),
        (nj.Bosh3(), 0.0, 1e4, 0.6796610355377197),
        (nj.Bosh3(), 100.0, 1e2, 100.32373046875),
    ],
)
def test_a_solve_that_has_crossed_a_jump_goes_on(solver, t0, jump, place):
    """The second row stands at the jump itself: once it is reached, the field is constant up to the end."""

    def field(t, y, args):
        return jnp.where(t < args, 0.0, jump) + 0 * y

    sol = nj.odeint(field, jnp.ones(1), [t0, place, t0 + 2], place, solver=solver)
    assert int(sol.status) == nj.Status.success


def test_the_gradient_of_times_is_zero_where_they_were_not_reached():
    def loss(ts):
        sol = nj.odeint(lambda t, y, args: jnp.where(t > 1, jnp.inf, y), jnp.ones(1), ts)
        return jnp.sum(jnp.where(jnp.isfinite(sol.ys), sol.ys, 0))

    np.testing.assert_array_equal(jax.grad(loss)(jnp.array([0.0, 2.0])), [0, 0])


@pytest.mark.parametrize("solver", [nj.Tsit5(), nj.RK4()], ids=["Tsit5", "RK4"])
def test_the_gradient_of_the_first_row_is_one_though_the_rest_fails(solver):
    """Adaptive steps run into the end of a tank that empties, constant ones into a blow-up."""

    def tank(t, y, args):
        return -jnp.sqrt(jnp.maximum(y, 0))

    def blow_up(t, y, args):
        return y**3

    is_adaptive = solver.has_error_estimate
    field, controller = (tank, nj.PIController()) if is_adaptive else (blow_up, nj.ConstantStep(0.5))

    def loss(y0):
        sol = nj.odeint(field, y0, [0.0, 1e6], solver=solver, controller=controller, max_steps=30)
        return sol.ys[0, 0], sol.status

    gradient, status = jax.grad(loss, has_aux=True)(jnp.array([1.0 if is_adaptive else 3.0]))
    assert int(status) != nj.Status.success
    assert float(gradient[0]) == 1
