"""The backward solve may have a method of its own, and evaluates no slope that nothing reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import driven, gradient, relative_difference, weigh

ADAPTIVE = nj.PIController(rtol=1e-9, atol=1e-9)
TIMES = jnp.linspace(0.0, 1.0, 11)


def gradient_for_state(adjoint, solver, controller):
    inputs = driven("many")

    def loss(y0):
        sol = nj.odeint(*inputs._replace(y0=y0), solver=solver, controller=controller, adjoint=adjoint, max_steps=256)
        return weigh(sol.ys)

    return jax.jit(jax.grad(loss))(inputs.y0)


@pytest.mark.parametrize("solver", [nj.Tsit5(), nj.Bosh3()], ids=lambda solver: solver.tableau.name)
def test_another_method_backward_gives_the_same_gradient(x64, solver):
    found = gradient_for_state(nj.BacksolveAdjoint(solver=solver, max_steps=1024), nj.Tsit5(), ADAPTIVE)
    assert relative_difference(found, gradient("checkpointed", "many", "float64").y0) < 1e-6


def test_a_method_that_cannot_solve_backward_may_solve_forward(x64):
    adjoint = nj.BacksolveAdjoint(ADAPTIVE, solver=nj.CashKarp5())
    found = gradient_for_state(adjoint, nj.ReversibleHeun(), nj.ConstantStep(0.01))
    # Both gradients have the error of the forward solve, each in its own way.
    assert relative_difference(found, gradient("checkpointed", "many", "float64").y0) < 1e-3


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (nj.FixedSteps(4), nj.PIController(1e-6, 1e-6)),
        (nj.FixedSteps(4), nj.FixedSteps(20)),
        (nj.ConstantStep(0.1), nj.ConstantStep(0.02)),
    ],
    ids=["adaptive", "fixed", "constant"],
)
def test_a_controller_of_its_own_may_take_more_steps_than_the_forward_solve(x64, forward, backward):
    def loss(rate, adjoint):
        sol = nj.odeint(
            lambda t, y, rate: jnp.stack([y[1], -rate * y[0]]),
            jnp.array([1.0, 0.2]),
            [0.0, 3.0],
            rate,
            controller=forward,
            adjoint=adjoint,
            max_steps=30,
        )
        return sol.ys[-1, 0]

    found, exact = (jax.grad(loss)(1.0, adjoint) for adjoint in (nj.BacksolveAdjoint(backward), nj.DirectAdjoint()))
    np.testing.assert_allclose(found, exact, rtol=5e-3)


def test_a_solve_in_fixed_steps_that_events_cut_has_steps_enough_on_its_way_back():
    def loss(rate, adjoint):
        field, y0 = lambda t, y, rate: jnp.stack([y[1], -rate * y[0]]), jnp.array([1.0, 0.2])
        event = nj.Event(lambda t, y, args: y[0], terminate=False, max_events=3)
        methods = {"solver": nj.RK4(), "controller": nj.FixedSteps(200)}
        return nj.odeint(field, y0, [0.0, 10.0], rate, events=event, adjoint=adjoint, **methods).ys[-1, 0]

    found, exact = (jax.grad(loss)(1.0, adjoint) for adjoint in (nj.BacksolveAdjoint(), nj.CheckpointedAdjoint()))
    np.testing.assert_allclose(found, exact, rtol=1e-4)


@pytest.mark.parametrize("use_seminorm", [True, False], ids=["seminorm", "all parts"])
@pytest.mark.parametrize(
    "controller",
    [nj.PIController(rtol=np.full(3, 1e-7), atol=1e-7), nj.PIController(1e-7, 1e-7, norm=lambda x: jnp.max(abs(x)))],
    ids=["an array", "a norm"],
)
def test_what_a_controller_says_of_the_state_need_not_fit_the_parameters(x64, controller, use_seminorm):
    def loss(parameters, adjoint):
        field, ts = lambda t, y, b: -y * jnp.sum(b**2), [0.0, 1.0]
        return jnp.sum(nj.odeint(field, jnp.ones(3), ts, parameters, controller=controller, adjoint=adjoint).ys[-1])

    parameters = jnp.linspace(0.1, 0.5, 5)
    found = jax.grad(loss)(parameters, nj.BacksolveAdjoint(use_seminorm=use_seminorm))
    squares = jnp.sum(parameters**2)
    np.testing.assert_allclose(found, -6 * parameters * jnp.exp(-squares), rtol=1e-5)


def counted_field(counts):
    """y' = -y, whose evaluations that are read by something are counted."""

    def count(y):
        counts.append(1)
        return np.zeros_like(y)

    @jax.custom_vjp
    def field(y):
        nothing = jax.ShapeDtypeStruct(y.shape, y.dtype)
        return -y + jax.pure_callback(count, nothing, y, vmap_method="sequential")

    field.defvjp(lambda y: (field(y), None), lambda _, bar: (-bar,))
    return lambda t, y, args: field(y)


@pytest.mark.parametrize(
    ("solver", "a_step"),
    [(nj.Tsit5(), 7), (nj.Bosh5(), 8), (nj.CashKarp5(), 6), (nj.Bosh3(), 4), (None, 6)],
    ids=lambda x: x.tableau.name if isinstance(x, nj.ExplicitRungeKutta) else str(x),
)
def test_a_step_back_evaluates_no_slope_that_nothing_reads(solver, a_step):
    counts = []
    adjoint = nj.BacksolveAdjoint(nj.PIController(1e-2, 1e-2, dt0=0.1), solver=solver)

    def loss(y0):
        controller = nj.PIController(1e-2, 1e-2, dt0=0.1)
        return jnp.sum(nj.odeint(counted_field(counts), y0, TIMES, controller=controller, adjoint=adjoint).ys)

    jax.block_until_ready(jax.jit(loss)(jnp.ones(1)))
    forward = len(counts)
    counts.clear()
    jax.block_until_ready(jax.jit(jax.grad(loss))(jnp.ones(1)))
    # One more finds the slope at the start, with which a solve checks that there is one.
    assert len(counts) - forward == a_step * (TIMES.size - 1) + 1


@pytest.mark.parametrize("solver", [nj.CashKarp5(), nj.Tsit5()], ids=lambda solver: solver.tableau.name)
@pytest.mark.parametrize("times", [[0.0, 1.0], [0.0, 0.3, 1.0]], ids=["ends", "between"])
def test_beside_jumps_the_evaluations_that_are_made_are_those_that_are_told(solver, times):
    counts = []
    controller = nj.PIController(1e-2, 1e-2, dt0=0.1, jump_ts=[0.25, 0.75])
    sol = nj.odeint(counted_field(counts), jnp.ones(1), times, solver=solver, controller=controller)
    jax.block_until_ready(sol.ys)
    assert int(sol.stats.num_evals) == len(counts)


@pytest.mark.parametrize(
    ("adjoint", "error", "message"),
    [
        (nj.BacksolveAdjoint(solver=nj.Tsit5), TypeError, "expected solver to be a Runge-Kutta method.*parentheses"),
        (nj.BacksolveAdjoint(solver=nj.RK4()), ValueError, "PIController, which needs an error estimate"),
        (nj.BacksolveAdjoint(solver=nj.Reversible(nj.Bosh3())), ValueError, "another structure.*Reversible cannot"),
        (nj.BacksolveAdjoint("adaptive"), TypeError, "expected controller to be .*PIController.*got 'adaptive'"),
        (nj.BacksolveAdjoint(nj.PIController(np.full(3, 1e-4))), ValueError, r"broadcast against the state.*\(3,\)"),
        (nj.BacksolveAdjoint(max_steps=1.5), ValueError, "max_steps to be an integer of at least 1, got 1.5"),
        (nj.BacksolveAdjoint(max_steps=True), ValueError, "max_steps to be an integer of at least 1, got True"),
    ],
    ids=["a class", "no error estimate", "two copies", "a name", "a shape", "a fraction", "a truth value"],
)
def test_settings_that_cannot_solve_backward_are_refused(adjoint, error, message):
    with pytest.raises(error, match=message):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), TIMES, adjoint=adjoint)


def test_an_adaptive_backward_solve_after_constant_steps_needs_an_error_estimate():
    adjoint = nj.BacksolveAdjoint(nj.PIController())
    with pytest.raises(ValueError, match="PIController, which needs an error estimate"):
        nj.odeint(
            lambda t, y, args: -y, jnp.ones(1), TIMES, solver=nj.RK4(), controller=nj.ConstantStep(0.1), adjoint=adjoint
        )
