"""Gradients for control inputs: right by every adjoint, and in a batch without an array of all knots a step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.interpolate import CubicHermite, Linear, ZeroOrderHold
from tests.adjoints.cases import CONTINUOUS, REVERSE, central_differences, weigh
from tests.adjoints.test_programs import equations

PATHS = {"hold": ZeroOrderHold, "linear": Linear, "hermite": CubicHermite}
BATCH, NUM_KNOTS = 5, 7
TIGHT = nj.PIController(rtol=1e-9, atol=1e-9)
KNOTS = np.linspace(-0.1, 1.9, NUM_KNOTS)
TS = np.array([0.0, 0.7, 1.3, 2.0])


def draw(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def driven(t, y, args):
    return args["matrix"] @ jnp.tanh(y) + args["u"].evaluate(t)


def twice(t, y, args):
    """Value and slope at t, and the value at other times, one of which depends on the state."""
    u = args["u"]
    return driven(t, y, args) + 0.1 * u.derivative(t) * y + u(t - 0.3) + 0.1 * u(jnp.tanh(y[0]))


def never(t, y, args):
    return args["matrix"] @ jnp.tanh(y)


def arguments(path, knots, values, matrix):
    return {"u": path(knots, values), "matrix": matrix}


MATRIX = np.array([[-0.1, 2.0], [-2.0, -0.1]])


def single_loss(path, **keywords):
    def loss(values, matrix):
        args = arguments(path, KNOTS, values, matrix)
        return weigh(nj.odeint(driven, draw(2), TS, args, **keywords).ys)

    return loss


@functools.cache
def reference(name):
    loss = single_loss(PATHS[name], controller=TIGHT, max_steps=256)
    return jax.device_get(jax.jit(jax.grad(loss, (0, 1)))(draw(NUM_KNOTS, 2), MATRIX))


@pytest.mark.parametrize("name", PATHS)
def test_the_gradient_for_the_values_is_that_of_finite_differences(x64, name):
    loss = single_loss(PATHS[name], solver=nj.Midpoint(), controller=nj.FixedSteps(8))
    values = draw(NUM_KNOTS, 2)
    gradient = jax.jit(jax.grad(loss))(values, MATRIX)
    differences = central_differences(
        jax.jit(lambda flat: loss(flat.reshape(values.shape), MATRIX)), np.asarray(values).reshape(-1)
    )
    np.testing.assert_allclose(gradient.reshape(-1), differences, atol=1e-9)


@pytest.mark.parametrize("adjoint", ["direct", "backsolve", "gauss"])
def test_every_adjoint_sees_a_hold_from_inside_its_steps(x64, adjoint):
    loss = single_loss(ZeroOrderHold, controller=TIGHT, adjoint=REVERSE[adjoint], max_steps=256)
    found = jax.jit(jax.grad(loss, (0, 1)))(draw(NUM_KNOTS, 2), MATRIX)
    tolerance = 1e-6 if adjoint in CONTINUOUS else 1e-12
    for mine, theirs in zip(found, reference("hold"), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=tolerance)


def batch_loss(solve, path, field, has_own_knots, **keywords):
    """Of values, knots, matrix, states and times; every trajectory with values of its own."""

    def loss(values, knots, matrix, y0s, ts):
        paths = jax.vmap(path, in_axes=(0 if has_own_knots else None, 0))(knots, values)
        args = {"u": paths, "matrix": matrix}
        axes = (0, 0 if ts.ndim == 2 else None, {"u": 0, "matrix": None})
        return weigh(solve(field, y0s, ts, args, axes, **keywords).ys)

    return loss


def together(field, y0s, ts, args, axes, **keywords):
    return nj.odeint_batch(field, y0s, ts, args, in_axes=axes, **keywords)


def each(field, y0s, ts, args, axes, lanes=None, **keywords):
    return jax.vmap(lambda y0, ts, args: nj.odeint(field, y0, ts, args, **keywords), axes)(y0s, ts, args)


SETTINGS = {
    "adaptive": {"solver": nj.Bosh3(), "controller": nj.PIController(rtol=1e-4, atol=1e-4)},
    "jumps": {"solver": nj.Heun(), "controller": nj.PIController(rtol=1e-3, atol=1e-3, jump_ts=[0.5])},
    "fixed": {"solver": nj.Euler(), "controller": nj.FixedSteps(4)},
    "scanned": {"solver": nj.Euler(scan_stages=True), "controller": nj.ConstantStep(0.1)},
    "reversible": {"solver": nj.Reversible(nj.Midpoint()), "controller": nj.ConstantStep(0.1)},
}
"""With stages in a loop, a table is made of a hold alone."""
CASES = [
    ("hold", "adaptive", driven, 2),
    ("linear", "adaptive", driven, None),
    ("hermite", "jumps", driven, None),
    ("hold", "scanned", driven, None),
    ("linear", "scanned", driven, None),
    ("linear", "reversible", driven, None),
    ("linear", "fixed", twice, None),
    ("linear", "fixed", never, 2),
]
"""Path, setting, field, lanes; where there are few lanes, each trajectory has knots and times of its own."""


@pytest.mark.parametrize(("name", "setting", "field", "lanes"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_the_gradient_of_a_batch_is_that_of_its_trajectories(x64, name, setting, field, lanes):
    is_ragged = lanes is not None
    values, y0s = draw(BATCH, NUM_KNOTS, 2), draw(BATCH, 2)
    knots, ts = jnp.asarray(KNOTS), jnp.asarray(TS)
    if is_ragged:
        # Knots and ends of their own, padding, and a row that goes back in time.
        knots = jnp.minimum(knots * jnp.linspace(0.8, 1.2, BATCH)[:, None], 1.7)
        ts = jnp.minimum(ts * jnp.linspace(0.5, 1.1, BATCH)[:, None], 1.6).at[2].set(ts[::-1])
    found, expected = (
        jax.jit(jax.grad(batch_loss(solve, PATHS[name], field, is_ragged, **keywords), (0, 1, 2, 3, 4)))(
            values, knots, MATRIX, y0s, ts
        )
        for solve, keywords in (
            (together, {"lanes": lanes, "max_steps": 256, **SETTINGS[setting]}),
            (each, {"max_steps": 256, **SETTINGS[setting]}),
        )
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9 * (1 + np.abs(theirs).max()))
    assert np.any(found[0]) == (field is not never)


@pytest.mark.parametrize("name", PATHS)
def test_a_step_back_touches_the_knots_of_no_path_but_where_it_adds(name):
    """In the innermost loops there is no array of all knots for each lane but the total that the rows are added to."""
    batch, num_knots, dim = 5, 37, 3

    def loss(values):
        paths = jax.vmap(PATHS[name], in_axes=(None, 0))(jnp.linspace(0.0, 1.0, num_knots), values)
        y0s = jnp.ones((batch, dim))
        return jnp.sum(nj.odeint_batch(lambda t, y, u: u(t) - y, y0s, [0.0, 1.0], paths, in_axes=(0, None, 0)).ys)

    program = jax.make_jaxpr(jax.grad(loss))(jnp.zeros((batch, num_knots, dim))).jaxpr
    bodies = [eqn.params["body_jaxpr"].jaxpr for eqn in equations(program) if eqn.primitive.name == "while"]
    steps = [body for body in bodies if "while" not in {eqn.primitive.name for eqn in equations(body)}]
    made = [
        eqn.primitive.name
        for body in steps
        for eqn in equations(body)
        for var in eqn.outvars
        if var.aval.shape == (batch, num_knots, dim)
    ]
    assert set(made) == {"scatter-add"}
    assert len(made) == 1


def test_a_hessian_for_controls_is_that_of_the_trajectories(x64):
    settings = {"solver": nj.Euler(), "controller": nj.FixedSteps(3), "max_steps": 16}

    def second(solve):
        loss = batch_loss(solve, Linear, driven, False, **settings)
        values, y0s = draw(BATCH, NUM_KNOTS, 2), draw(BATCH, 2)
        return jax.jit(jax.hessian(lambda scale: loss(jnp.sin(scale * values), KNOTS, MATRIX, y0s, TS)))(1.0)

    np.testing.assert_allclose(second(together), second(each), rtol=1e-9)


def test_a_trajectory_that_fails_leaves_the_gradient_for_the_controls_of_the_others():
    def loss(values):
        paths = jax.vmap(Linear, in_axes=(None, 0))(jnp.array([0.0, 0.5, 1.0]), values)
        sol = nj.odeint_batch(lambda t, y, u: u(t) * y, jnp.ones(3), [0.0, 1.0], paths, in_axes=(0, None, 0), lanes=2)
        is_good = sol.status == nj.Status.success
        return jnp.sum(jnp.where(is_good[:, None], sol.ys, 0.0)), is_good

    values = jnp.array([[1.0, 2.0, 1.0], [1.0, jnp.inf, 1.0], [0.0, 1.0, 0.0]])
    gradient, is_good = jax.jit(jax.grad(loss, has_aux=True))(values)
    np.testing.assert_array_equal(is_good, [True, False, True])
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()
    assert gradient[0].all()
    assert gradient[2].all()
