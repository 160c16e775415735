"""Symplectic methods keep what a mechanical system keeps: phase volume, bounded energy error, the arrow of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.solvers.stepping import estimated_order, interpolate, interpolate_derivative, largest_difference, walk

SOLVERS = {
    "SemiImplicitEuler": nj.SemiImplicitEuler(),
    "StormerVerlet": nj.StormerVerlet(),
    "LeapfrogMidpoint": nj.LeapfrogMidpoint(),
}
SYMMETRIC = ("StormerVerlet", "LeapfrogMidpoint")

by_name = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


def _pendulum(t, y):
    q, p = y
    return p, -jnp.sin(q)


def _pendulum_energy(y):
    q, p = y
    return p**2 / 2 - jnp.cos(q)


def _kepler(t, y):
    q, p = y
    return p, -q / jnp.sum(q**2, -1, keepdims=True) ** 1.5


def _kepler_energy(y):
    q, p = y
    return jnp.sum(p**2, -1) / 2 - jnp.sum(q**2, -1) ** -0.5


KEPLER_START = ((0.5, 0.0), (0.0, 3**0.5))
"""Perihelion of an orbit of eccentricity 1/2, semimajor axis 1 and period 2π."""


def _forced(t, y):
    """q'' = -4 q + cos t: q = cos 2t + (cos t - cos 2t) / 3 from q = 1, p = 0."""
    q, p = y
    return p, -4.0 * q + jnp.cos(t)


def _forced_exact(t):
    return (
        np.cos(2 * t) + (np.cos(t) - np.cos(2 * t)) / 3,
        -2 * np.sin(2 * t) + (2 * np.sin(2 * t) - np.sin(t)) / 3,
    )


@by_name
def test_estimated_order_is_the_stated_order(x64, solver):
    steps = (64, 128, 256)
    ends = [walk(solver, _forced, (jnp.asarray(1.0), jnp.asarray(0.0)), 0.0, 2.0, n).ys for n in steps]
    errors = [
        max(abs(float(half[-1]) - exact) for half, exact in zip(y, _forced_exact(2.0), strict=True)) for y in ends
    ]
    assert estimated_order(errors, steps) == pytest.approx(solver.order, abs=0.2)


@by_name
def test_dense_output_has_the_order_of_the_method(x64, solver):
    thetas = np.array([0.15, 0.35, 0.5, 0.8])
    steps, errors = (32, 64, 128), []
    for n in steps:
        ys = walk(solver, _forced, (jnp.asarray(1.0), jnp.asarray(0.0)), 0.0, 2.0, n, thetas).ys
        ts = (np.arange(n)[:, None] + thetas).ravel() * 2.0 / n
        errors.append(max(np.abs(half - exact).max() for half, exact in zip(ys, _forced_exact(ts), strict=True)))
    assert estimated_order(errors, steps) > solver.order - 0.2


@by_name
def test_the_interpolant_is_smooth_from_step_to_step(x64, solver):
    t0, dt = jnp.asarray(0.2), jnp.asarray(0.1)
    y0 = (jnp.asarray(1.0), jnp.asarray(0.3))
    one = solver.step(_forced, t0, dt, y0, None)
    two = solver.step(_forced, t0 + dt, dt, one.z1, one.f1)
    for evaluate in (interpolate, interpolate_derivative):
        before, after = (
            evaluate(solver, jnp.asarray(1.0), dt, y0, one),
            evaluate(solver, jnp.asarray(0.0), dt, one.z1, two),
        )
        assert largest_difference(before, after) < 1e-14
    assert largest_difference(interpolate(solver, jnp.asarray(0.0), dt, y0, one), y0) == 0


@by_name
def test_evaluations_are_counted(solver):
    calls = []

    def field(t, y):
        calls.append(t)
        return _forced(t, y)

    y0 = (jnp.asarray(1.0), jnp.asarray(0.3))
    for dense in (True, False):
        calls.clear()
        solver.step(field, jnp.asarray(0.0), jnp.asarray(0.1), y0, _forced(0.0, y0), dense=dense)
        assert len(calls) == solver.num_evals(dense) == 2


@by_name
def test_the_jacobian_of_a_step_is_symplectic(precision, solver):
    """J' Ω J = Ω: Hairer, Lubich & Wanner (2006), Geometric Numerical Integration, VI.2."""
    dim = 2

    def one_step(x):
        y1 = solver.step(_kepler, jnp.asarray(0.0), jnp.asarray(0.3), (x[:dim], x[dim:]), None).z1
        return jnp.concatenate(y1)

    jacobian = jax.jit(jax.jacfwd(one_step))(jnp.concatenate([jnp.asarray(half) for half in KEPLER_START]))
    omega = np.block([[np.zeros((dim, dim)), np.eye(dim)], [-np.eye(dim), np.zeros((dim, dim))]])
    found = np.asarray(jacobian.T @ omega @ jacobian)
    np.testing.assert_allclose(found, omega, atol=200 * jnp.finfo(jacobian.dtype).eps)


@by_name
@pytest.mark.parametrize("problem", ["pendulum", "Kepler"])
def test_the_energy_error_does_not_grow(x64, solver, problem):
    """Over 500 periods the second half is no worse than the first, while a method of order 4 drifts."""
    if problem == "pendulum":
        field, energy, y0, dt = _pendulum, _pendulum_energy, (jnp.asarray(2.0), jnp.asarray(0.0)), 0.3
    else:
        field, energy, y0, dt = _kepler, _kepler_energy, tuple(jnp.asarray(half) for half in KEPLER_START), 0.03
    periods = 500
    num_steps = int(periods * 2 * np.pi / dt)

    def energy_errors(method):
        ys = walk(method, field, y0, 0.0, num_steps * dt, num_steps).ys
        errors = np.abs(np.asarray(energy(ys) - energy(y0)))
        return errors[: num_steps // 2].max(), errors[num_steps // 2 :].max()

    first, second = energy_errors(solver)
    assert second < 1.05 * first
    first, second = energy_errors(nj.RK4())
    assert second > 1.8 * first


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_methods_run_back_through_their_own_steps(x64, name):
    """With the momentum turned round, the same steps forward lead back to the start."""
    solver = SOLVERS[name]
    q0, p0 = (jnp.asarray(half) for half in KEPLER_START)
    q1, p1 = walk(solver, _kepler, (q0, p0), 0.0, 20.0, 400).z
    q2, p2 = walk(solver, _kepler, (q1, -p1), 0.0, 20.0, 400).z
    assert largest_difference((q2, -p2), (q0, p0)) < 1e-11


def test_halves_may_be_trees(x64):
    def field(t, y):
        q, p = y
        return p, jax.tree.map(lambda leaf: -jnp.sin(leaf), q)

    q = {"a": jnp.array([1.0, 2.0]), "b": jnp.asarray(0.3)}
    p = jax.tree.map(jnp.zeros_like, q)
    solver = nj.StormerVerlet()
    solver.check_state((q, p))
    together = walk(solver, field, (q, p), 0.0, 1.0, 10).z
    alone = walk(solver, field, (q["b"], p["b"]), 0.0, 1.0, 10).z
    assert largest_difference((together[0]["b"], together[1]["b"]), alone) < 1e-15


@pytest.mark.parametrize(
    "y0",
    [
        np.ones(4),
        (np.ones(2), np.ones(2), np.ones(2)),
        [np.ones(2), np.ones(2)],
        (np.ones(2), np.ones(3)),
        ({"a": np.ones(2)}, {"b": np.ones(2)}),
        ((), np.ones(())),
    ],
    ids=["array", "three", "list", "shapes", "structures", "empty and scalar"],
)
@by_name
def test_a_state_that_is_not_a_pair_is_refused(solver, y0):
    with pytest.raises(ValueError, match=rf"{type(solver).__name__} expects a state that is a pair .* got .* Split"):
        solver.check_state(y0)
