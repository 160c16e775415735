"""Explicit Runge-Kutta methods have the order they claim, step by step and in their dense output."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.solvers import tableaus
from node_jax.solvers.tableaus import ButcherTableau
from tests.problems import PROBLEMS
from tests.solvers.stepping import dense_error, end_error, estimated_order, interpolate, interpolate_derivative
from tests.solvers.test_order_conditions import TABLEAUS

SOLVERS = {
    "Euler": nj.Euler,
    "Midpoint": nj.Midpoint,
    "Heun": nj.Heun,
    "Ralston": nj.Ralston,
    "Bosh3": nj.Bosh3,
    "RK4": nj.RK4,
    "Dopri5": nj.Dopri5,
    "Tsit5": nj.Tsit5,
    "CashKarp5": nj.CashKarp5,
    "Bosh5": nj.Bosh5,
    "Dopri8": nj.Dopri8,
}
EVALUATIONS = {
    "Euler": (1, 1),
    "Midpoint": (2, 2),
    "Heun": (2, 2),
    "Ralston": (2, 2),
    "Bosh3": (3, 3),
    "RK4": (4, 4),
    "Dopri5": (6, 6),
    "Tsit5": (6, 6),
    "CashKarp5": (6, 6),
    "Bosh5": (7, 7),
    "Dopri8": (13, 16),
}
"""A step's evaluations without and with dense output."""


def test_every_tableau_has_a_solver_in_the_table():
    assert {tableau.name for tableau in TABLEAUS} == set(SOLVERS)
    assert all(SOLVERS[tableau.name]().tableau is tableau for tableau in TABLEAUS)


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted(name):
    solver = SOLVERS[name](scan_stages=False)
    for dense, expected in zip((False, True), EVALUATIONS[name], strict=True):
        calls = []

        def field(t, y, calls=calls):
            calls.append(t)
            return -y

        step = solver.step(field, jnp.asarray(0.0), jnp.asarray(0.1), jnp.ones(1), -jnp.ones(1), dense=dense)
        assert len(calls) == solver.num_evals(dense) == expected
        assert len(step.stages) == expected + 1


def test_dormand_and_princes_coefficients_are_those_of_scipy():
    from scipy.integrate import RK45

    for i, row in enumerate(tableaus.DOPRI5.a[:5], start=1):
        np.testing.assert_allclose(row, RK45.A[i, :i], atol=1e-15)
    np.testing.assert_allclose(tableaus.DOPRI5.weights[:6], RK45.B, atol=1e-15)
    # SciPy's error is of the opposite sign.
    np.testing.assert_allclose(tableaus.DOPRI5.error, -RK45.E, atol=1e-15)
    theta = 0.37
    extension = RK45.P @ theta ** np.arange(1, 5)
    dopri5 = tableaus.DOPRI5
    bump = theta * (1 - theta)
    ours = [theta**2 * (3 - 2 * theta) * b + bump**2 * q[0] for b, q in zip(dopri5.weights, dopri5.bridge, strict=True)]
    ours[0] += bump * (1 - theta)
    ours[-1] -= bump * theta
    np.testing.assert_allclose(ours, extension, atol=1e-14)


def test_a_malformed_tableau_is_refused():
    with pytest.raises(ValueError, match="diagonal"):
        ButcherTableau("bad", 1, (0.0, 1.0), ((0.5, 0.5),), None, 1)
    with pytest.raises(ValueError, match="one entry a stage"):
        ButcherTableau("bad", 1, (0.0, 1.0), ((1.0,),), None, 1, ((0.0,),))
    with pytest.raises(ValueError, match="diagonal"):
        ButcherTableau("bad", 1, (0.0, 1.0), ((1.0,),), None, 1, ((0.0,),) * 3, (0.5,), ((0.5,),))


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", SOLVERS)
def test_no_problem_is_solved_at_a_lower_order_than_stated(x64, name, problem):
    solver = SOLVERS[name]()
    # A method of order 8 reaches rounding in a few steps: it gets twice the time.
    steps, length = ((32, 64, 128), 1) if solver.order < 8 else ((6, 8, 12), 2)
    longer = dataclasses.replace(problem, t1=length * problem.t1)
    errors = {n: end_error(solver, longer, n) for n in steps}
    # What is within a few roundings tells of these.
    told = [n for n in steps if errors[n] > 5e-15]
    assert len(told) >= 2
    assert estimated_order([errors[n] for n in told], told) > solver.order - 0.2


@pytest.mark.parametrize("name", SOLVERS)
def test_estimated_order_is_the_stated_order(x64, name):
    problem = next(p for p in PROBLEMS if p.name == "time and state")
    solver = SOLVERS[name]()
    steps = (64, 128) if solver.order < 8 else (12, 16, 20)
    if name == "CashKarp5":
        # Its error of order 5 is so small here that the next term shows in longer steps.
        steps = (128, 256)
    errors = [end_error(solver, problem, n) for n in steps]
    assert estimated_order(errors, steps) == pytest.approx(solver.order, abs=0.2)


@pytest.mark.parametrize("name", SOLVERS)
def test_dense_output_has_its_stated_order(x64, name):
    problem = next(p for p in PROBLEMS if p.name == "oscillator")
    solver = SOLVERS[name]()
    steps = (8, 12, 16, 24)
    errors = [dense_error(solver, problem, n) for n in steps]
    # Values within a step are of the order of the dense output plus one, as long as the steps' ends are.
    expected = min(solver.order, solver.tableau.dense_order + 1)
    assert estimated_order(errors, steps) > expected - 0.3


@pytest.mark.parametrize("name", SOLVERS)
def test_the_interpolant_meets_both_ends_and_its_derivative_the_field(x64, name):
    solver = SOLVERS[name]()

    def field(t, y):
        return jnp.cos(3 * t) * y

    t0, dt, y0 = jnp.asarray(0.3), jnp.asarray(0.2), jnp.array([1.0, -2.0])
    step = solver.step(field, t0, dt, y0, None)
    np.testing.assert_allclose(interpolate(solver, jnp.asarray(0.0), dt, y0, step), y0, atol=1e-15)
    np.testing.assert_allclose(interpolate(solver, jnp.asarray(1.0), dt, y0, step), step.z1, atol=1e-15)
    for theta, slope in ((0.0, field(t0, y0)), (1.0, field(t0 + dt, step.z1))):
        found = interpolate_derivative(solver, jnp.asarray(theta), dt, y0, step)
        np.testing.assert_allclose(found, slope, atol=1e-12)
    h = 1e-6
    middle = [interpolate(solver, jnp.asarray(0.4 + s * h), dt, y0, step) for s in (1, -1)]
    found = interpolate_derivative(solver, jnp.asarray(0.4), dt, y0, step)
    np.testing.assert_allclose(found, (middle[0] - middle[1]) / (2 * h * dt), rtol=1e-8)


@pytest.mark.parametrize("name", SOLVERS)
def test_cotangents_of_stages_are_the_transpose_of_the_coefficients(x64, name):
    solver = SOLVERS[name]()
    random = np.random.default_rng(0)
    num_stages = len(solver.tableau.c) + len(solver.tableau.dense_c)
    stages = tuple(jnp.asarray(random.normal(size=3)) for _ in range(num_stages))
    bars = [jnp.asarray(random.normal(size=3)) for _ in range(solver.num_coefficients)]
    (expected,) = jax.vjp(lambda stages: list(solver.coefficients(jnp.asarray(0.3), stages)), stages)[1](bars)
    for i, bar in enumerate(expected):
        found = solver.stage_cotangent(i, [0.3 * bar for bar in bars])
        np.testing.assert_allclose(0.0 if found is None else found, bar, rtol=1e-13, atol=1e-15)
