"""The rates of integrated costs are their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.losses import JacobianNorm, KineticEnergy, TotalDerivative

MATRIX = jnp.array([[0.3, -1.0, 0.2], [0.5, 0.1, 0.7], [-0.4, 0.6, -0.8]])
STATE = jnp.array([1.0, -0.5, 2.0])


def linear(t, y, args):
    return MATRIX @ y


def driven(t, y, args):
    return jnp.sin(args * y[::-1]) * jnp.cos(t) + t**2 * y


def bent(t, y, args):
    """softplus and relu, whose higher derivatives some Taylor modes lack."""
    return jax.nn.softplus(MATRIX @ y) - jax.nn.relu(y + t)


def test_kinetic_energy_is_the_mean_square_of_the_velocity_over_trees_too():
    y = {"a": STATE, "b": jnp.array(1.0)}
    rate = KineticEnergy().rate(lambda t, y, args: {"a": 2 * y["a"], "b": -y["b"]}, 0.0, y, None)
    np.testing.assert_allclose(rate, (4 * np.sum(STATE**2) + 1) / 4, rtol=1e-6)


def test_the_exact_jacobian_norm_of_a_linear_field_is_that_of_its_matrix():
    rate = JacobianNorm(exact=True).rate(linear, 0.0, STATE, None)
    np.testing.assert_allclose(rate, np.sum(MATRIX**2), rtol=1e-6)


@pytest.mark.parametrize("distribution", ["rademacher", "normal"])
def test_the_estimated_jacobian_norm_has_no_bias(distribution):
    cost = JacobianNorm(probes=20000, distribution=distribution)
    drawn = cost.draw(STATE, jax.random.key(0))
    assert drawn.shape == (20000, 3)
    one = JacobianNorm()
    estimates = jax.jit(jax.vmap(lambda probe: one.rate(driven, 0.3, STATE, 2.0, probe[None])))(drawn)
    exact = JacobianNorm(exact=True).rate(driven, 0.3, STATE, 2.0)
    spread = float(jnp.std(estimates)) / np.sqrt(20000)
    assert spread > 0
    assert abs(float(jnp.mean(estimates) - exact)) < 4 * spread
    np.testing.assert_allclose(cost.rate(driven, 0.3, STATE, 2.0, drawn), jnp.mean(estimates), rtol=1e-4)


def test_total_derivatives_of_a_linear_field_are_powers_of_its_matrix():
    orders = (1, 2, 3, 4)
    found = jax.jit(lambda y: [TotalDerivative(order).derivative(linear, 0.0, y, None) for order in orders])(STATE)
    rates = jax.jit(lambda y: [TotalDerivative(order).rate(linear, 0.0, y, None) for order in orders])(STATE)
    for order, derivative, rate in zip(orders, found, rates, strict=True):
        expected = np.linalg.matrix_power(MATRIX, order) @ STATE
        np.testing.assert_allclose(derivative, expected, rtol=1e-5)
        np.testing.assert_allclose(rate, np.mean(expected**2), rtol=1e-5)


@pytest.mark.parametrize("field", [driven, bent])
def test_total_derivatives_are_those_of_nested_jacobians(x64, field):
    """d/dt g(t, y(t)) = ∂g/∂t + (∂g/∂y) f."""

    def along(g):
        return lambda t, y: jax.jacfwd(g, 0)(t, y) + jax.jacfwd(g, 1)(t, y) @ field(t, y, 2.0)

    def first(t, y):
        return field(t, y, 2.0)

    @jax.jit
    def pairs(t, y):
        found = [TotalDerivative(order).derivative(field, t, y, 2.0) for order in (2, 3)]
        return list(zip(found, (along(first)(t, y), along(along(first))(t, y)), strict=True))

    for found, expected in pairs(jnp.array(0.7), jnp.array([1.0, -0.5, 2.0])):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_total_derivatives_follow_a_control_input():
    """x'' = u' for x' = u(t), wherever the batch has evaluated the path before."""
    path = nj.interpolate.Linear(jnp.array([0.0, 1.0]), jnp.array([0.0, 3.0]))
    integrator, costs = nj.Integrator(controller=nj.FixedSteps(2)), {"bend": TotalDerivative(2)}

    @jax.jit
    def solve(y0s):
        return nj.losses.solve_batch_with_costs(
            integrator, lambda t, y, args: args(t) + 0 * y, y0s, [0.0, 0.5], path, costs=costs
        )[1]

    costs = solve(jnp.zeros((2, 1)))
    np.testing.assert_allclose(costs["bend"], 9.0 * 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JacobianNorm(probes=0), "probes"),
        (lambda: JacobianNorm(distribution="uniform"), "rademacher"),
        (lambda: JacobianNorm().draw(STATE, None), "random key"),
        (lambda: JacobianNorm().rate(linear, 0.0, STATE, None), "draw"),
        (lambda: TotalDerivative(0), "order"),
    ],
)
def test_what_no_cost_can_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_residual_norm_is_that_of_what_a_hybrid_adds():
    def added(t, y, args):
        return jnp.stack([0 * t + 3.0, 5.0 * y[0]])

    field = nj.fields.HybridField(lambda t, y, args: -y, added, acts_on=(0,))
    y = jnp.array([1.0, 2.0])
    assert float(nj.losses.ResidualNorm().rate(field, jnp.zeros(()), y, None)) == pytest.approx(9.0 / 2)
    assert float(nj.losses.ResidualNorm(True).rate(field, jnp.zeros(()), y, None)) == pytest.approx(9.0 / 5)
    costs = {"residual": nj.losses.ResidualNorm()}
    ts = [0.0, 2.0]
    _, one = nj.losses.solve_with_costs(nj.Integrator(), field, y, ts, costs=costs)
    assert float(one["residual"]) == pytest.approx(9.0)
    _, many = nj.losses.solve_batch_with_costs(nj.Integrator(), field, jnp.stack([y, 2 * y]), ts, costs=costs)
    np.testing.assert_allclose(many["residual"], 9.0, rtol=1e-5)


def test_the_residual_norm_wants_a_hybrid():
    costs = {"residual": nj.losses.ResidualNorm()}
    with pytest.raises(ValueError, match="expected a HybridField"):
        nj.losses.solve_with_costs(nj.Integrator(), lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], costs=costs)
