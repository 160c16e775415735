"""Costs beside the state: the right integrals, without a trace in the steps, and differentiable."""

import functools
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.losses import JacobianNorm, KineticEnergy, TotalDerivative, solve_batch_with_costs, solve_with_costs
from node_jax.losses.with_costs import FieldWithCosts, Inputs
from node_jax.tree import WithIntegrals
from tests.adjoints.cases import central_differences

RATES = jnp.array([[-0.5, 2.0], [-2.0, -0.5]])
"""A spiral: |y|² falls as exp(-t), and |f|² = 4.25 |y|²."""


def spiral(t, y, args):
    return args @ y


def pendulum(t, y, args):
    return jnp.stack([y[1], -args[0] * jnp.sin(y[0]) - args[1] * y[1] * jnp.cos(t)])


def maximum(x):
    return jax.tree.reduce(jnp.maximum, jax.tree.map(lambda leaf: jnp.max(abs(leaf)), x))


class Rate(nj.losses.AbstractIntegralCost):
    """A rate that is any function."""

    function: Callable = eqx.field(static=True)

    def rate(self, field, t, y, args, drawn=None):
        del drawn
        return self.function(field, t, y, args)


@jax.jit
def all_costs(y0, ts):
    costs = {"kinetic": KineticEnergy(), "jacobian": JacobianNorm(exact=True), "bend": TotalDerivative(2)}
    integrator = nj.Integrator(controller=nj.PIController(1e-10, 1e-10))
    return solve_with_costs(integrator, spiral, y0, ts, RATES, costs=costs)


@pytest.mark.parametrize("sign", [1, -1], ids=["forward", "backward"])
def test_costs_of_a_linear_field_are_their_closed_forms(x64, sign):
    y0, t1 = jnp.array([1.0, 0.5]), sign * 1.5
    sol, costs = all_costs(y0, jnp.array([0.0, t1 / 3, t1]))
    integral = 1.25 * (1 - np.exp(-t1)) * sign
    np.testing.assert_allclose(costs["kinetic"], 4.25 * integral / 2, rtol=1e-8)
    np.testing.assert_allclose(costs["bend"], 4.25**2 * integral / 2, rtol=1e-8)
    np.testing.assert_allclose(costs["jacobian"], np.sum(RATES**2) * 1.5, rtol=1e-12)
    assert sol.ys.shape == (3, 2)


CONTROLLERS = {
    "adaptive": nj.PIController(1e-4, 1e-6),
    "own norm, tolerance tree": nj.PIController((1e-4,), 1e-6, norm=maximum),
    "constant": nj.ConstantStep(0.07),
    "fixed": nj.FixedSteps(3),
}


@pytest.mark.parametrize("name", CONTROLLERS)
def test_costs_leave_no_trace_in_the_steps(x64, name):
    """Costs a million times the state, and all that is counted, sized and recorded is as without them."""

    def huge(field, t, y, args):
        return 1e6 * jnp.cos(30 * t) + jnp.sum(field(t, y, args)[0])

    def field(t, y, args):
        return (pendulum(t, y[0], args),)

    keywords = {"controller": CONTROLLERS[name], "steps": True, "record": ("error", "stiffness")}
    y0, ts, args = (jnp.array([1.0, 0.5]),), jnp.linspace(0.0, 4.0, 4), jnp.array([4.0, 0.3])
    costs = FieldWithCosts(field, {"a": Rate(huge), "b": KineticEnergy()})
    inputs = Inputs(args, {"a": None, "b": None})

    @jax.jit
    def solve(y0):
        start = WithIntegrals(y0, {"a": jnp.zeros(()), "b": jnp.zeros(())})
        return nj.odeint(field, y0, ts, args, **keywords), nj.odeint(costs, start, ts, inputs, **keywords)

    plain, beside = solve(y0)
    for got, expected in zip(jax.tree.leaves(beside.stats), jax.tree.leaves(plain.stats), strict=True):
        assert int(got) == int(expected)
    # Two programs round differently, which an error estimate shows as a difference of nearly equal numbers.
    found = (beside.steps, beside.ys.y, beside.costs)
    for got, expected in zip(
        jax.tree.leaves(found), jax.tree.leaves((plain.steps, plain.ys, plain.costs)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_a_controller_of_the_user_sees_the_state_alone():
    seen = []

    class Watching(nj.PIController):
        def decide(self, memory, ts, t1, dt, y0, y1, error, order):
            seen.append((jax.tree.structure(y0), jax.tree.structure(y1), jax.tree.structure(error)))
            return super().decide(memory, ts, t1, dt, y0, y1, error, order)

    integrator = nj.Integrator(controller=Watching())
    solve_with_costs(integrator, spiral, jnp.ones(2), [0.0, 0.1], RATES, costs={"kinetic": KineticEnergy()})
    assert seen
    assert set(seen) == {(jax.tree.structure(0),) * 3}


def test_a_diffrax_solver_takes_the_same_steps(x64):
    integrator = nj.Integrator(solver=diffrax.Tsit5())
    costs = {"kinetic": KineticEnergy()}

    @jax.jit
    def solve(y0):
        ts = jnp.array([0.0, 1.0, 4.0])
        return integrator(spiral, y0, ts, RATES), solve_with_costs(integrator, spiral, y0, ts, RATES, costs=costs)

    plain, (sol, costs) = solve(jnp.array([1.0, 0.5]))
    assert int(sol.stats.num_accepted) == int(plain.stats.num_accepted)
    np.testing.assert_allclose(sol.ys, plain.ys, rtol=1e-9)
    np.testing.assert_allclose(costs["kinetic"], 4.25 * 1.25 * (1 - np.exp(-4.0)) / 2, rtol=1e-3)


@functools.cache
def value_and_gradient(adjoint, controller):
    costs = {"kinetic": KineticEnergy(), "jacobian": JacobianNorm(key=jax.random.key(1)), "bend": TotalDerivative(2)}

    def loss(x):
        integrator = nj.Integrator(controller=controller, adjoint=adjoint, max_steps=64)
        ts = jnp.stack([x[0], x[0] + 0.5, x[1]])
        sol, found = solve_with_costs(integrator, pendulum, x[2:4], ts, x[4:], costs=costs)
        return jnp.sum(sol.ys[1:]) + found["kinetic"] + 0.3 * found["jacobian"] + 0.1 * found["bend"]

    differentiate = jax.jacfwd if isinstance(adjoint, nj.ForwardMode) else jax.grad
    return jax.jit(loss), jax.jit(differentiate(loss))


POINT = np.array([0.1, 1.4, 1.0, 0.5, 2.0, 0.3])
"""Start and end, initial state, parameters."""


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.DirectAdjoint(), nj.ForwardMode()], ids=repr)
def test_gradients_of_costs_are_those_of_the_steps(x64, adjoint):
    value = value_and_gradient(nj.CheckpointedAdjoint(), nj.FixedSteps(4))[0]
    found, expected = value_and_gradient(adjoint, nj.FixedSteps(4))[1](POINT), central_differences(value, POINT)
    np.testing.assert_allclose(found[2:], expected[2:], rtol=1e-6)
    # A step that grows with its interval has another error, which the gradient of the exact solution does not see.
    np.testing.assert_allclose(found[:2], expected[:2], rtol=2e-5)


@pytest.mark.parametrize("adjoint", [nj.BacksolveAdjoint(), nj.GaussAdjoint()], ids=repr)
def test_continuous_adjoints_differentiate_costs(x64, adjoint):
    controller = nj.PIController(1e-7, 1e-7)
    expected = value_and_gradient(nj.CheckpointedAdjoint(), nj.FixedSteps(4))[1](POINT)
    np.testing.assert_allclose(value_and_gradient(adjoint, controller)[1](POINT), expected, rtol=2e-4, atol=1e-5)


def test_a_batch_has_the_costs_of_its_trajectories(x64):
    """Each with its times, one of them backward, and its arguments."""
    y0s = jnp.array([[1.0, 0.5], [0.2, -1.0], [2.0, 0.0]])
    ts = jnp.array([[0.0, 1.0, 2.0], [0.0, 0.3, 0.3], [1.0, 0.5, 0.0]])
    args = jnp.array([[4.0, 0.3], [1.0, 0.0], [2.0, 1.0]])
    costs = {"kinetic": KineticEnergy(), "jacobian": JacobianNorm(exact=True)}
    settings = {"costs": costs, "record": ("error",)}
    axes = {"in_axes": (0, 0, 0), "lanes": 2}
    one = jax.jit(lambda y0, ts, args: solve_with_costs(nj.Integrator(), pendulum, y0, ts, args, **settings)[1])
    many = jax.jit(lambda *xs: solve_batch_with_costs(nj.Integrator(), pendulum, *xs, **axes, **settings)[1])
    found = many(y0s, ts, args)
    assert set(found) == {"kinetic", "jacobian", "error"}
    for i in range(3):
        for name, value in one(y0s[i], ts[i], args[i]).items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-9)


def test_probes_are_one_draw_a_solve_and_one_a_trajectory():
    """εᵀ A is constant for a linear field, so that the estimate is a draw times the length of the solve."""
    integrator, costs = nj.Integrator(), {"jacobian": JacobianNorm()}
    matrix = jnp.array([[0.1, 0.5], [0.0, 0.2]])
    y0s = jnp.ones((16, 2))

    @jax.jit
    def estimates(key):
        return solve_batch_with_costs(integrator, spiral, y0s, [0.0, 2.0], matrix, costs=costs, key=key)[1]["jacobian"]

    possible = 2.0 * np.array([np.sum((e @ np.asarray(matrix)) ** 2) for e in ([1.0, 1.0], [1.0, -1.0])])
    found = estimates(jax.random.key(0))
    nearest = np.argmin(abs(np.asarray(found)[:, None] - possible), axis=1)
    np.testing.assert_allclose(found, possible[nearest], rtol=1e-5)
    assert set(nearest.tolist()) == {0, 1}
    np.testing.assert_array_equal(found, estimates(jax.random.key(0)))
    assert not np.array_equal(found, estimates(jax.random.key(1)))


def test_recorded_costs_have_the_gradient_of_the_solve_without_integrals(x64):
    """That gradient is held against differences in tests/integrate/test_costs.py. The stiffness is a quotient of small
    differences, in which rounding is large."""
    integrator = nj.Integrator(controller=nj.ConstantStep(0.2), max_steps=16)
    record = ("error", "stiffness")

    ts, settings = jnp.array([0.0, 1.0]), {"costs": {"kinetic": KineticEnergy()}, "record": record}

    def beside(x):
        costs = solve_with_costs(integrator, pendulum, x[:2], ts, x[2:], **settings)[1]
        return jnp.log(costs["error"]) + costs["stiffness"]

    def alone(x):
        costs = integrator(pendulum, x[:2], ts, x[2:], record=record).costs
        return jnp.log(costs["error"]) + costs["stiffness"]

    x = jnp.array(POINT[2:])
    found, expected = jax.jit(lambda x: (jax.grad(beside)(x), jax.grad(alone)(x)))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["state", "cost"])
def test_rows_that_fail_are_masked_with_a_finite_gradient(kind):
    """The state explodes, or the cost alone does; the other trajectory is as if nothing had happened."""

    def end(field, t, y, args):
        return jnp.sum(jnp.sqrt(2.0 - y))

    def explode(t, y, args):
        return args * y * y

    cost, t1 = (KineticEnergy(), 2.0) if kind == "state" else (Rate(end), 0.8)
    y0s = jnp.array([[1.0], [0.1]])

    def loss(rate):
        sol, costs = solve_batch_with_costs(
            nj.Integrator(max_steps=256), explode, y0s, [0.0, t1], rate, costs={"cost": cost}
        )
        is_solved = sol.status == nj.Status.success
        return jnp.sum(jnp.where(is_solved, costs["cost"], 0.0)), (sol.status, costs["cost"])

    (value, (status, costs)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.array(1.0))
    assert np.array_equal(status == nj.Status.success, [False, True])
    assert np.isnan(costs[0])
    np.testing.assert_allclose(value, costs[1])
    assert np.isfinite(gradient)
    assert float(abs(gradient)) > 0


def test_a_second_solve_compiles_nothing():
    field = eqx.filter_jit(spiral)
    num_traces = 0

    def count(field, t, y, args):
        nonlocal num_traces
        num_traces += 1
        return jnp.sum(y)

    costs = {"sum": Rate(count)}
    for scale in (1.0, 2.0):
        solve_with_costs(nj.Integrator(), field, scale * jnp.ones(2), [0.0, scale], RATES, costs=costs)
    assert num_traces == 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"costs": [KineticEnergy()]}, "dict of costs"),
        ({"costs": {"kinetic": KineticEnergy}}, "with parentheses"),
        ({"costs": {"error": KineticEnergy()}, "record": ("error",)}, "in both"),
        ({"costs": {"jacobian": JacobianNorm()}}, "random key"),
        ({"integrator": nj.Integrator(solver=nj.StormerVerlet(), controller=nj.ConstantStep(0.1))}, r"pair \(q, p\)"),
        ({"integrator": nj.Integrator(adjoint=nj.GaussAdjoint()), "record": "error"}, "GaussAdjoint.*record="),
        ({"y0": jnp.ones(2, int)}, "solve_with_costs: expected a floating-point state"),
        (
            {
                "integrator": nj.Integrator(solver=diffrax.KenCarp4()),
                "field": nj.fields.SplitField(spiral, spiral),
            },
            "SplitField",
        ),
    ],
)
def test_what_cannot_be_integrated_is_refused(keywords, message):
    integrator, field = keywords.pop("integrator", nj.Integrator()), keywords.pop("field", spiral)
    y0 = keywords.pop("y0", (jnp.ones(1), jnp.ones(1)) if "pair" in message else jnp.ones(2))
    keywords = {"costs": {"kinetic": KineticEnergy()}, **keywords}
    with pytest.raises((ValueError, TypeError), match=message):
        solve_with_costs(integrator, field, y0, [0.0, 1.0], RATES, **keywords)


def test_a_rate_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match=r"costs\['all'\] to be a real scalar"):
        solve_with_costs(
            nj.Integrator(), spiral, jnp.ones(2), [0.0, 1.0], RATES, costs={"all": Rate(lambda field, t, y, args: y)}
        )
