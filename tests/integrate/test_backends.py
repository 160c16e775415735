"""diffrax's solvers through the same call: implicit methods with gradients, and clear refusals."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import node_jax as nj
from tests.adjoints.cases import central_differences

IMPLICIT = {"Kvaerno3": diffrax.Kvaerno3(), "Kvaerno4": diffrax.Kvaerno4(), "Kvaerno5": diffrax.Kvaerno5()}
SPLIT = {"KenCarp3": diffrax.KenCarp3(), "KenCarp4": diffrax.KenCarp4(), "KenCarp5": diffrax.KenCarp5()}


def robertson(t, y, k):
    """Robertson (1966): three reactions whose rates span nine orders of magnitude."""
    a, b, c = k[0] * y[0], k[1] * y[1] * y[2], k[2] * y[1] ** 2
    return jnp.stack([-a + b, a - b - c, c])


def hires(t, y, k):
    """The photomorphogenesis problem of Schäfer (1975), in the form of Hairer & Wanner (1996), IV.10."""
    fast = k[0] * y[5] * y[7]
    return jnp.stack(
        [
            -k[1] * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007,
            k[1] * y[0] - 8.75 * y[1],
            -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4],
            8.32 * y[1] + k[1] * y[2] - 1.12 * y[3],
            -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6],
            -fast + 0.69 * y[3] + k[1] * y[4] - 0.43 * y[5] + 0.69 * y[6],
            fast - 1.81 * y[6],
            -fast + 1.81 * y[6],
        ]
    )


PROBLEMS = {
    "Robertson": (robertson, np.array([1.0, 0.0, 0.0]), [0.0, 0.4, 40.0], np.array([0.04, 1e4, 3e7])),
    "HIRES": (hires, np.array([1.0, 0, 0, 0, 0, 0, 0, 0.0057]), [0.0, 1.0, 100.0], np.array([280.0, 1.71])),
}
WEIGHTS = np.array([1.0, 1e4, 1.0, 2.0, 3.0, -1.0, 5.0, 7.0])


@functools.cache
def stiff_value(problem, solver):
    """A sum over outputs as a function of the logarithms of the rates, the solve, and the gradient."""
    field, y0, ts, rates = PROBLEMS[problem]
    controller = nj.PIController(rtol=1e-8, atol=1e-11)

    def value(x):
        sol = nj.odeint(
            field,
            jnp.asarray(y0),
            jnp.asarray(ts),
            jnp.asarray(rates) * jnp.exp(x),
            solver=IMPLICIT[solver],
            controller=controller,
            max_steps=8192 if solver == "Kvaerno3" else 2048,
        )
        return jnp.sum(sol.ys[1:] @ WEIGHTS[: len(y0)]), sol

    return jax.jit(jax.value_and_grad(value, has_aux=True))


@functools.cache
def scipy_reference(problem):
    field, y0, ts, rates = PROBLEMS[problem]
    run = jax.jit(field)
    jacobian = jax.jit(jax.jacfwd(field, argnums=1))

    def solve(x):
        k = rates * np.exp(x)
        found = solve_ivp(
            lambda t, y: np.asarray(run(t, y, k)),
            ts[::2],
            y0,
            "Radau",
            ts[1:],
            rtol=1e-11,
            atol=1e-14,
            jac=lambda t, y: np.asarray(jacobian(t, y, k)),
        )
        return found.y.T

    zero = np.zeros(len(rates))
    gradient = central_differences(lambda x: np.sum(solve(x) @ WEIGHTS[: len(y0)]), zero, h=1e-4)
    return solve(zero), gradient


@pytest.mark.parametrize(
    ("problem", "solver"), [("Robertson", "Kvaerno3"), ("Robertson", "Kvaerno5"), ("HIRES", "Kvaerno4")]
)
def test_implicit_methods_solve_stiff_problems_with_gradients(x64, problem, solver):
    (_, sol), gradient = stiff_value(problem, solver)(jnp.zeros(len(PROBLEMS[problem][3])))
    ys, expected = scipy_reference(problem)
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(sol.ys[1:], ys, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_same_problem_is_too_stiff_for_an_explicit_method(x64):
    field, y0, ts, rates = PROBLEMS["Robertson"]
    sol = nj.odeint(field, jnp.asarray(y0), ts, jnp.asarray(rates), max_steps=2000)
    assert int(sol.status) == nj.Status.max_steps


def explicit_part(t, y, args):
    return jnp.cos(t) * jnp.ones_like(y)


def implicit_part(t, y, args):
    return -args * (y - 1.0)


SPLIT_FIELD = nj.fields.SplitField(explicit_part, implicit_part)


def split_exact(t, rate):
    """y' = cos t - rate (y - 1), y(0) = 0."""
    forced = (rate * np.cos(t) + np.sin(t)) / (1 + rate**2)
    return 1 + forced + (-1 - rate / (1 + rate**2)) * np.exp(-rate * t)


def split_end(name, rate):
    ts = jnp.array([0.0, 0.5, 2.0])
    controller = nj.PIController(rtol=1e-7, atol=1e-9)
    sol = nj.odeint(SPLIT_FIELD, jnp.zeros(1), ts, rate, solver=SPLIT[name], controller=controller)
    return sol.ys[-1, 0], sol


@pytest.mark.parametrize("name", SPLIT)
def test_implicit_explicit_methods_take_a_split_field(x64, name):
    _, sol = jax.jit(split_end, static_argnums=0)(name, jnp.array(100.0))
    np.testing.assert_allclose(sol.ys[:, 0], split_exact(np.asarray(sol.ts), 100.0), atol=1e-5)


def test_a_gradient_goes_through_an_implicit_explicit_method(x64):
    slope = jax.jit(jax.grad(lambda rate: split_end("KenCarp3", rate)[0]))(jnp.array(100.0))
    expected = (split_exact(2.0, 100.1) - split_exact(2.0, 99.9)) / 0.2
    np.testing.assert_allclose(slope, expected, rtol=1e-3)


def test_implicit_explicit_methods_refuse_a_field_in_one_part():
    with pytest.raises(ValueError, match=r"KenCarp4.*nj\.fields\.SplitField"):
        nj.odeint(implicit_part, jnp.zeros(1), [0.0, 1.0], 1.0, solver=diffrax.KenCarp4())


def test_other_solvers_take_a_split_field_as_the_sum(x64):
    ts = jnp.array([0.0, 0.5, 2.0])
    controller = nj.PIController(rtol=1e-8, atol=1e-10)
    for solver in (nj.Tsit5(), diffrax.Tsit5()):
        sol = nj.odeint(SPLIT_FIELD, jnp.zeros(1), ts, 3.0, solver=solver, controller=controller)
        np.testing.assert_allclose(sol.ys[:, 0], split_exact(np.asarray(ts), 3.0), atol=1e-7)


def oscillator(t, y, args):
    return jnp.stack([y[1], -args * y[0] + jnp.sin(t)])


def outputs(solver, adjoint, controller):
    def value(y0, rate):
        sol = nj.odeint(
            oscillator,
            y0,
            jnp.array([0.0, 0.5, 2.0]),
            rate,
            solver=solver,
            adjoint=adjoint,
            controller=controller,
            max_steps=256,
        )
        return sol.ys

    return value


@pytest.mark.parametrize("name", ["Tsit5", "Dopri5", "Bosh3"])
def test_native_and_diffrax_agree(x64, name):
    controller = nj.PIController(rtol=1e-7, atol=1e-9)
    arguments = (jnp.array([1.0, 0.0]), jnp.array(4.0))
    native, other = (
        jax.jit(_value_and_gradient(outputs(solver, nj.CheckpointedAdjoint(), controller)))(*arguments)
        for solver in (getattr(nj, name)(), getattr(diffrax, name)())
    )
    for ours, theirs in zip(jax.tree.leaves(native), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def _value_and_gradient(values):
    def loss(y0, rate):
        ys = values(y0, rate)
        return jnp.sum(jnp.tanh(ys)), ys

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)


def test_native_and_diffrax_agree_for_constant_steps(x64):
    controller = nj.ConstantStep(0.0625)
    arguments = (jnp.array([1.0, 0.0]), jnp.array(4.0))
    native, other = (
        jax.jit(_value_and_gradient(outputs(solver, nj.CheckpointedAdjoint(), controller)))(*arguments)
        for solver in (nj.Tsit5(), diffrax.Tsit5())
    )
    for ours, theirs in zip(jax.tree.leaves(native), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_direct_and_forward_derivatives_through_diffrax(x64):
    controller = nj.PIController(rtol=1e-8, atol=1e-9)
    arguments = (jnp.array([1.0, 0.0]), jnp.array(4.0))
    tangents = (jnp.array([0.3, -1.0]), jnp.array(0.5))

    def tangent(adjoint):
        values = outputs(diffrax.Tsit5(), adjoint, controller)
        return jax.jit(lambda x, dx: jax.jvp(values, x, dx)[1])(arguments, tangents)

    native = outputs(nj.Tsit5(), nj.ForwardMode(), controller)
    expected = jax.jit(lambda x, dx: jax.jvp(native, x, dx)[1])(arguments, tangents)
    assert np.abs(expected[1:]).min() > 1e-3
    np.testing.assert_allclose(tangent(nj.ForwardMode()), expected, atol=1e-5)
    np.testing.assert_allclose(tangent(nj.DirectAdjoint()), expected, atol=1e-5)
    gradient = _value_and_gradient(outputs(diffrax.Tsit5(), nj.DirectAdjoint(), controller))
    reference = _value_and_gradient(outputs(nj.Tsit5(), nj.DirectAdjoint(), controller))
    for ours, theirs in zip(
        jax.tree.leaves(jax.jit(gradient)(*arguments)), jax.tree.leaves(jax.jit(reference)(*arguments)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dense": True}, "dense="),
        ({"steps": True}, "steps="),
        ({"record": ("error",)}, "record="),
        ({"adjoint": nj.GaussAdjoint()}, "GaussAdjoint is not available with a diffrax solver"),
        ({"adjoint": nj.BacksolveAdjoint()}, "BacksolveAdjoint is not available with a diffrax solver"),
        ({"adjoint": nj.ReversibleAdjoint()}, "ReversibleAdjoint is not available with a diffrax solver"),
        ({"controller": nj.FixedSteps(4)}, "FixedSteps cannot steer a diffrax solver"),
        ({"solver": diffrax.Euler()}, "error estimate"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_what_diffrax_lacks_is_refused_before_the_field_is_traced(keywords, message):
    calls = []

    def field(t, y, args):
        calls.append(1)
        return -y

    with pytest.raises(ValueError, match=message):
        nj.odeint(field, jnp.ones(1), [0.0, 1.0], **{"solver": diffrax.Tsit5(), **keywords})
    assert calls == []


def test_save_works_with_diffrax(x64):
    def value(y0):
        sol = nj.odeint(
            lambda t, y, args: -y,
            y0,
            jnp.array([0.0, 0.5, 1.0]),
            3.0,
            solver=diffrax.Tsit5(),
            controller=nj.PIController(rtol=1e-8, atol=1e-8),
            save=lambda t, y, args: {"t": t, "energy": args * y[0] ** 2},
        )
        return jnp.sum(sol.ys["energy"]), sol.ys

    (_, ys), gradient = jax.jit(jax.value_and_grad(value, has_aux=True))(jnp.array([2.0]))
    times = np.array([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(ys["t"], times)
    np.testing.assert_allclose(ys["energy"], 12 * np.exp(-2 * times), rtol=1e-6)
    np.testing.assert_allclose(gradient, [(12 * np.exp(-2 * times)).sum()], rtol=1e-6)


@pytest.mark.parametrize("ends", [[0.0, 1.0], [1.0, 0.0]], ids=["forward", "backward"])
def test_jumps_pass_through_to_diffrax(x64, ends):
    def field(t, y, args):
        return jnp.where(t >= 0.3, 100.0, 1.0) * jnp.ones_like(y)

    def solve(jump_ts):
        controller = nj.PIController(rtol=1e-9, atol=1e-9, jump_ts=jump_ts)
        run = jax.jit(lambda ts: nj.odeint(field, jnp.zeros(1), ts, solver=diffrax.Tsit5(), controller=controller))
        return run(jnp.array(ends))

    known, unknown = solve([0.3]), solve(None)
    sign = 1 if ends[1] > ends[0] else -1
    np.testing.assert_allclose(known.ys[-1], [sign * 70.3], rtol=1e-9)
    assert int(known.stats.num_rejected) < int(unknown.stats.num_rejected)


@pytest.mark.parametrize("ts", [[0.0, 2.0, 1.0], [0.0, jnp.nan, 1.0]])
def test_bad_times_known_only_at_run_time_are_a_status_here_too(ts):
    solve = jax.jit(lambda ts: nj.odeint(lambda t, y, args: -y, jnp.ones(2), ts, solver=diffrax.Kvaerno3()))
    sol = solve(jnp.array(ts))
    assert int(sol.status) == nj.Status.invalid_input
    assert np.isnan(sol.ys).all()
