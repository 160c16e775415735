"""Reversible methods undo their steps to rounding, and are of the order they claim."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.problems import PROBLEMS
from tests.solvers.stepping import dense_error, estimated_order, interpolate, largest_difference, path_error, walk

BASES = {
    "Euler": nj.Euler,
    "Midpoint": nj.Midpoint,
    "Bosh3": nj.Bosh3,
    "RK4": nj.RK4,
    "Tsit5": nj.Tsit5,
    "Dopri8": nj.Dopri8,
}
SOLVERS = {"ReversibleHeun": nj.ReversibleHeun()} | {name: nj.Reversible(base()) for name, base in BASES.items()}
SYMPLECTIC = {
    "SemiImplicitEuler": nj.SemiImplicitEuler(),
    "StormerVerlet": nj.StormerVerlet(),
    "LeapfrogMidpoint": nj.LeapfrogMidpoint(),
}
DENSE_ORDERS = {"ReversibleHeun": 2} | {name: base().tableau.dense_order for name, base in BASES.items()}

by_name = pytest.mark.parametrize(("name", "solver"), SOLVERS.items())


def _pendulum(t, y):
    return {"angle": y["speed"], "speed": -jnp.sin(y["angle"]) + 0.1 * jnp.cos(t)}


def _mechanical(t, y):
    q, p = y
    return p, -jnp.sin(q) + 0.1 * jnp.cos(t)


def _start(name):
    """A field and an initial state that the solver can step."""
    if name in SYMPLECTIC:
        return _mechanical, (jnp.array([1.0, 0.2]), jnp.array([-0.3, 0.5]))
    return _pendulum, {"angle": jnp.array([1.0, 0.2]), "speed": jnp.array([-0.3, 0.5])}


@pytest.mark.parametrize(("name", "solver"), (SOLVERS | SYMPLECTIC).items())
def test_a_step_and_its_inverse_are_the_identity_to_rounding(precision, name, solver):
    field, y0 = _start(name)
    dt = jnp.asarray(0.1)
    # A few steps first, so that the two copies of the state differ.
    z0 = walk(solver, field, y0, 0.0, 0.5, 5).z
    t0 = jnp.asarray(0.5)
    step = solver.step(field, t0, dt, z0, None, dense=False)
    for f1 in (step.f1, None):
        back, f0 = solver.step_back(field, t0 + dt, dt, step.z1, f1)
        assert jax.tree.structure(back) == jax.tree.structure(z0)
        assert largest_difference(back, z0) < 8 * jnp.finfo(dt.dtype).eps
        assert (f0 is not None) == solver.is_fsal


@pytest.mark.parametrize(("name", "solver"), (SOLVERS | SYMPLECTIC).items())
def test_the_inverse_hands_on_what_the_step_before_needs(precision, name, solver):
    """Back over many steps with the slope carried from step to step, as a backward pass does it."""
    field, y0 = _start(name)
    num_steps, dt = 100, jnp.asarray(0.05)
    end = walk(solver, field, y0, 0.0, 5.0, num_steps).z
    # The slope that the last step left behind: at the second copy, or at the state itself.
    f1 = field(jnp.asarray(5.0), end[1] if name == "ReversibleHeun" else end) if solver.is_fsal else None

    def undo(carry, i):
        z, f = carry
        return solver.step_back(field, (num_steps - i) * dt, dt, z, f), None

    (start, _), _ = jax.jit(lambda carry: jax.lax.scan(undo, carry, jnp.arange(num_steps)))((end, f1))
    assert largest_difference(start, solver.start(y0)) < 200 * jnp.finfo(dt.dtype).eps


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@by_name
def test_no_problem_is_solved_at_a_lower_order_than_stated(x64, name, solver, problem):
    # A method of order 8 reaches rounding in a few steps: it gets twice the time.
    steps, length = ((32, 64, 128), 1) if solver.order < 8 else ((6, 8, 12), 2)
    longer = dataclasses.replace(problem, t1=length * problem.t1)
    errors = [path_error(solver, longer, n) for n in steps]
    assert estimated_order(errors, steps) > solver.order - 0.3


@by_name
def test_dense_output_has_its_stated_order(x64, name, solver):
    for problem in (p for p in PROBLEMS if p.name in ("oscillator", "time and state")):
        steps = (8, 12, 16, 24)
        errors = [dense_error(solver, problem, n) for n in steps]
        expected = min(solver.order, DENSE_ORDERS[name] + 1)
        assert estimated_order(errors, steps) > expected - 0.3


@by_name
def test_evaluations_are_counted(name, solver):
    field, y0 = _start(name)
    solver = nj.Reversible(BASES[name](scan_stages=False)) if name in BASES else solver
    for dense in (False, True):
        calls = []

        def counted(t, y, calls=calls):
            calls.append(t)
            return field(t, y)

        f0 = field(0.0, y0) if solver.is_fsal else None
        step = solver.step(counted, jnp.asarray(0.0), jnp.asarray(0.1), solver.start(y0), f0, dense=dense)
        assert len(calls) == solver.num_evals(dense)
    assert len(step.stages) == solver.num_dense_stages
    assert {"ReversibleHeun": 1, "Euler": 2, "Tsit5": 12, "RK4": 8, "Dopri8": 29}.get(name, len(calls)) == len(calls)


@by_name
def test_the_interpolant_meets_both_ends(x64, name, solver):
    field, y0 = _start(name)
    t0, dt = jnp.asarray(0.5), jnp.asarray(0.2)
    z0 = walk(solver, field, y0, 0.0, 0.5, 5).z
    step = solver.step(field, t0, dt, z0, None)
    assert largest_difference(interpolate(solver, jnp.asarray(0.0), dt, z0, step), solver.read(z0)) < 1e-15
    assert largest_difference(interpolate(solver, jnp.asarray(1.0), dt, z0, step), solver.read(step.z1)) < 1e-15


@pytest.mark.parametrize("name", ["Midpoint", "Bosh3", "Tsit5", "Dopri8"])
def test_the_error_estimate_is_the_methods_own_on_the_first_step(x64, name):
    """The copies are equal there, so that y1 is the method's y1."""
    field, y0 = _start(name)
    base = BASES[name]()
    args = (field, jnp.asarray(0.2), jnp.asarray(0.3))
    reversible = nj.Reversible(base)
    found, expected = reversible.step(*args, reversible.start(y0), None), base.step(*args, y0, None)
    assert reversible.has_error_estimate
    assert largest_difference(reversible.read(found.z1), expected.z1) < 1e-15
    assert largest_difference(found.error, expected.error) < 1e-15
    assert not nj.Reversible(nj.RK4()).has_error_estimate


def test_the_error_estimate_of_reversible_heun_is_the_distance_to_eulers_step(x64):
    field, y0 = _start("ReversibleHeun")
    args = (field, jnp.asarray(0.2), jnp.asarray(0.3))
    solver = nj.ReversibleHeun()
    step = solver.step(*args, solver.start(y0), None)
    euler = nj.Euler().step(*args, y0, None).z1
    distance = jax.tree.map(jnp.subtract, solver.read(step.z1), euler)
    assert largest_difference(step.error, distance) < 1e-15


def test_the_gap_is_the_difference_of_the_copies_and_falls_with_the_order(x64):
    field, y0 = _start("Tsit5")
    for solver in (nj.ReversibleHeun(), nj.Reversible(nj.Tsit5())):
        z = solver.start(y0)
        assert largest_difference(solver.gap(z), jax.tree.map(jnp.zeros_like, y0)) == 0
        gaps = []
        for num_steps in (20, 40):
            z = walk(solver, field, y0, 0.0, 2.0, num_steps).z
            assert largest_difference(solver.gap(z), jax.tree.map(jnp.subtract, z[0], z[1])) == 0
            gaps.append(largest_difference(solver.gap(z), jax.tree.map(jnp.zeros_like, y0)))
        assert np.log2(gaps[0] / gaps[1]) > solver.order - 0.3
    field, y0 = _start("StormerVerlet")
    assert nj.StormerVerlet().gap(nj.StormerVerlet().start(y0)) is None


@pytest.mark.parametrize("coupling", [0.9, 0.999, 1.0])
def test_the_copies_decouple_at_the_rate_of_the_docstring(x64, coupling):
    """The two factors of a step on dy/dt = λ y are exp(λ dt) and c exp(-λ dt)."""
    solver, rate, dt = nj.Reversible(nj.Dopri8(), coupling), -2.0, jnp.asarray(0.1)

    def one_step(z):
        z1 = solver.step(lambda t, y: rate * y, jnp.asarray(0.0), dt, (z[0], z[1]), None, dense=False).z1
        return jnp.stack(z1)

    factors = np.sort(np.linalg.eigvals(jax.jacfwd(one_step)(jnp.ones(2))).real)
    np.testing.assert_allclose(factors, [np.exp(rate * dt), coupling * np.exp(-rate * dt)], rtol=1e-9)


def test_gradients_flow_through_a_step_and_its_inverse(x64):
    field, y0 = _start("Tsit5")
    for solver in (nj.ReversibleHeun(), nj.Reversible(nj.Tsit5()), nj.Reversible(nj.Dopri8())):

        def there_and_back(y0, solver=solver):
            dt = jnp.asarray(0.1)
            step = solver.step(field, jnp.asarray(0.0), dt, solver.start(y0), None, dense=False)
            return solver.read(solver.step_back(field, dt, dt, step.z1, step.f1)[0])

        jacobian = jax.jit(jax.jacrev(there_and_back))(y0)
        identity = jax.tree.map(jnp.zeros_like, jacobian)
        for key in y0:
            identity[key][key] = jnp.eye(2)
        assert largest_difference(jacobian, identity) < 1e-13


def test_misuse_is_refused():
    with pytest.raises(TypeError, match="explicit Runge-Kutta"):
        nj.Reversible(nj.ReversibleHeun())
    for coupling in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"0\.999"):
            nj.Reversible(nj.Tsit5(), coupling=coupling)
