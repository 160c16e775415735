"""Tableaus have the order they claim, step by step and in their dense output."""

import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.interpolate.dense import horner
from node_jax.solvers import tableaus
from node_jax.solvers.tableaus import ButcherTableau
from tests.problems import PROBLEMS

SOLVERS = {
    "Euler": nj.Euler,
    "Midpoint": nj.Midpoint,
    "Heun": nj.Heun,
    "Ralston": nj.Ralston,
    "Bosh3": nj.Bosh3,
    "RK4": nj.RK4,
    "Dopri5": nj.Dopri5,
    "Tsit5": nj.Tsit5,
}
DENSE_ORDERS = {
    "Euler": 1,
    "Midpoint": 2,
    "Heun": 2,
    "Ralston": 2,
    "Bosh3": 3,
    "RK4": 3,
    "Dopri5": 4,
    "Tsit5": 4,
}
TABLEAUS = [value for value in vars(tableaus).values() if isinstance(value, ButcherTableau)]
EMBEDDED = [tableau for tableau in TABLEAUS if tableau.error is not None]


def test_every_tableau_has_a_solver_in_the_table():
    assert {tableau.name for tableau in TABLEAUS} == set(SOLVERS)
    assert all(SOLVERS[tableau.name]().tableau is tableau for tableau in TABLEAUS)


def _coefficients(tableau):
    stages = len(tableau.c)
    a = np.zeros((stages, stages))
    for i, row in enumerate(tableau.a, start=1):
        a[i, :i] = row
    return a, np.asarray(tableau.c), np.asarray(tableau.weights)


@pytest.mark.parametrize("tableau", TABLEAUS, ids=lambda t: t.name)
def test_rows_sum_to_the_nodes(tableau):
    a, c, _ = _coefficients(tableau)
    np.testing.assert_allclose(a.sum(axis=1), c, atol=1e-14)


@pytest.mark.parametrize("tableau", TABLEAUS, ids=lambda t: t.name)
def test_order_conditions_hold(tableau):
    """Hairer, Norsett & Wanner (1993), II.2, table 2.2: all rooted trees up to order 4, and two of order 5."""
    a, c, b = _coefficients(tableau)
    conditions = {
        1: [(b.sum(), 1)],
        2: [(b @ c, 1 / 2)],
        3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        4: [(b @ c**3, 1 / 4), ((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
        5: [(b @ c**4, 1 / 5), (b @ a @ a @ a @ c, 1 / 120)],
    }
    for order, pairs in conditions.items():
        if order <= tableau.order:
            for value, expected in pairs:
                assert value == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("tableau", EMBEDDED, ids=lambda t: t.name)
def test_error_weights_are_those_of_a_method_of_one_order_less(tableau):
    _, c, b = _coefficients(tableau)
    embedded = b - np.asarray(tableau.error)
    for power in range(tableau.order - 1):
        assert embedded @ c**power == pytest.approx(1 / (power + 1), abs=1e-13)
    assert abs(embedded @ c ** (tableau.order - 1) - 1 / tableau.order) > 1e-5


def test_dormand_and_princes_coefficients_are_those_of_scipy():
    from scipy.integrate import RK45

    a, _, b = _coefficients(tableaus.DOPRI5)
    np.testing.assert_allclose(a[:6, :5], RK45.A, atol=1e-15)
    np.testing.assert_allclose(b[:6], RK45.B, atol=1e-15)
    # SciPy's error is of the opposite sign.
    np.testing.assert_allclose(tableaus.DOPRI5.error, -RK45.E, atol=1e-15)
    theta = 0.37
    extension = RK45.P @ theta ** np.arange(1, 5)
    ours = [
        theta * weight + theta * (1 - theta) * horner(q, theta)
        for weight, q in zip(tableaus.DOPRI5.weights, tableaus.DOPRI5.bridge, strict=True)
    ]
    np.testing.assert_allclose(ours, extension, atol=1e-14)


def test_a_malformed_tableau_is_refused():
    with pytest.raises(ValueError, match="diagonal"):
        ButcherTableau("bad", 1, (0.0, 1.0), ((0.5, 0.5),), None, ((0.0,), (0.0,)))
    with pytest.raises(ValueError, match="one entry a stage"):
        ButcherTableau("bad", 1, (0.0, 1.0), ((1.0,),), None, ((0.0,),))


def _estimated_order(solver, problem, steps):
    errors = []
    for n in steps:
        controller = nj.ConstantStep(problem.t1 / n)
        sol = nj.odeint(problem.field, jnp.array(problem.y0), [0.0, problem.t1], solver=solver, controller=controller)
        errors.append(np.abs(np.asarray(sol.ys[-1]) - problem.exact(np.array(problem.t1))).max())
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", SOLVERS)
def test_no_problem_is_solved_at_a_lower_order_than_stated(x64, name, problem):
    solver = SOLVERS[name]()
    assert _estimated_order(solver, problem, [32, 64, 128]) > solver.order - 0.2


@pytest.mark.parametrize("name", SOLVERS)
def test_estimated_order_is_the_stated_order(x64, name):
    problem = next(p for p in PROBLEMS if p.name == "time and state")
    solver = SOLVERS[name]()
    assert _estimated_order(solver, problem, [64, 128]) == pytest.approx(solver.order, abs=0.2)


@pytest.mark.parametrize(("name", "dense_order"), DENSE_ORDERS.items())
def test_dense_output_has_its_stated_order(x64, name, dense_order):
    problem = next(p for p in PROBLEMS if p.name == "oscillator")
    ts = np.linspace(0, problem.t1, 1001)
    errors = []
    steps = [8, 16, 32]
    for n in steps:
        controller = nj.ConstantStep(problem.t1 / n)
        sol = nj.odeint(problem.field, jnp.array(problem.y0), ts, solver=SOLVERS[name](), controller=controller)
        errors.append(np.abs(np.asarray(sol.ys) - problem.exact(ts)).max())
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope > dense_order - 0.2


@pytest.mark.parametrize("name", SOLVERS)
def test_the_interpolant_meets_both_ends_and_its_derivative_the_field(x64, name):
    solver = SOLVERS[name]()

    def field(t, y):
        return jnp.cos(3 * t) * y

    t0, dt, y0 = jnp.asarray(0.3), jnp.asarray(0.2), jnp.array([1.0, -2.0])
    step = solver.step(field, t0, dt, y0, None)
    np.testing.assert_allclose(solver.interpolate(jnp.asarray(0.0), dt, y0, step), y0, atol=1e-15)
    np.testing.assert_allclose(solver.interpolate(jnp.asarray(1.0), dt, y0, step), step.z1, atol=1e-15)
    for theta, slope in ((0.0, field(t0, y0)), (1.0, field(t0 + dt, step.z1))):
        found = solver.interpolate_derivative(jnp.asarray(theta), dt, y0, step)
        np.testing.assert_allclose(found, slope, atol=1e-12)
    h = 1e-6
    middle = [solver.interpolate(jnp.asarray(0.4 + s * h), dt, y0, step) for s in (1, -1)]
    found = solver.interpolate_derivative(jnp.asarray(0.4), dt, y0, step)
    np.testing.assert_allclose(found, (middle[0] - middle[1]) / (2 * h * dt), rtol=1e-8)


def test_a_zero_polynomial_costs_nothing():
    assert horner((0.0, 0.0), jnp.asarray(0.3)) == 0.0
    assert float(horner((1.0, 2.0, 3.0), jnp.asarray(2.0))) == 17.0
