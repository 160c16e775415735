"""The programs that a GPU gets, run on a CPU: loops of known length, and gradients for parameters a chunk at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
import node_jax.adjoints.deferred
import node_jax.stepping.lane_tape
from node_jax.solvers.base import Step
from tests.adjoints.test_lanes import assert_same_gradient, expected_gradient, gradient
from tests.adjoints.test_programs import equations
from tests.backend import use_backend
from tests.integrate.batch_cases import keywords_of, solve_batch

PI = nj.PIController(rtol=1e-6, atol=1e-8, dt0=0.1)


@pytest.fixture(scope="module", autouse=True)
def gpu():
    """The choices that are made for a GPU, and none of its programs left behind."""
    with use_backend("gpu"):
        jax.clear_caches()
        yield
    jax.clear_caches()


def network(width=8):
    return nj.fields.MLP(dim=2, width=width, depth=1, activation=jnp.tanh, key=jax.random.key(0))


def forced(t, y, args):
    net, stiffness = args
    return net(t, y, None) + jnp.sin(3.0 * t) - stiffness * y


CASES = [
    ("Tsit5", False, 6, None),
    ("Tsit5", False, 2, 3),
    ("Tsit5", True, 6, 3),
    ("jumps", True, 6, 3),
]


def on_a_cpu(*case):
    with use_backend("cpu"):
        return expected_gradient(*case)


@pytest.mark.parametrize(("name", "is_ragged", "num_times", "lanes"), CASES)
def test_the_gradient_of_a_batch_is_that_of_its_trajectories(x64, name, is_ragged, num_times, lanes):
    x, expected = on_a_cpu(name, is_ragged, num_times)
    assert_same_gradient(gradient(solve_batch, x, lanes=lanes, **keywords_of(name)), expected)


def test_steps_taken_again_and_evaluations_in_parts_give_the_same_gradient(x64, monkeypatch):
    monkeypatch.setattr(node_jax.stepping.lane_tape, "_SMALL_BYTES", 0)
    monkeypatch.setattr(node_jax.stepping.lane_tape, "_LEAST_SLOTS", 2)
    monkeypatch.setattr(node_jax.adjoints.deferred, "_ELEMENTS_AT_ONCE", 64)
    x, expected = on_a_cpu("Tsit5", True, 6)
    assert_same_gradient(gradient(solve_batch, x, lanes=3, **keywords_of("Tsit5")), expected)


def on_both(function):
    """What `function` gives with the choices for a CPU, and with those for a GPU."""
    found = []
    for backend in ("cpu", "gpu"):
        jax.clear_caches()
        with use_backend(backend):
            found.append(jax.device_get(function()))
    return found


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)


def test_one_system_has_the_steps_and_the_gradient_that_it_has_on_a_cpu(x64):
    y0, ts = jnp.array([[1.0, -0.5], [0.3, 2.0]]), jnp.array([0.0, 0.3, 1.0, 2.0])

    def loss(net, y0, ts):
        sol = nj.odeint(forced, y0, ts, (net, 2.0), controller=PI)
        return jnp.sum(jnp.cos(jnp.arange(sol.ys.size)).reshape(sol.ys.shape) * sol.ys), sol.stats

    def derivatives():
        first = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(network(), y0, ts)
        return first, jax.hessian(lambda y0: loss(network(), y0, ts)[0])(y0[0])

    assert_close(*on_both(derivatives))


class RosenbrockEuler(nj.AbstractSolver):
    """y1 = y0 + (1 - dt J)^-1 dt f(t0, y0) with J = df/dy: the field inside a transformation."""

    order = 1
    has_error_estimate = False

    def num_evals(self, dense):
        return 2

    def step(self, field, t0, dt, z0, f0, *, dense=True, with_slope=True):
        f0 = field(t0, z0) if f0 is None else f0
        jacobian = jax.jacfwd(lambda y: field(t0, y))(z0)
        z1 = z0 + jnp.linalg.solve(jnp.eye(z0.size) - dt * jacobian, dt * f0)
        f1 = field(t0 + dt, z1)
        return Step(z1, f1, (f0, f1), None)


def test_a_solver_that_transforms_the_field_has_its_gradient(x64):
    controller = nj.ConstantStep(0.1)

    def loss(net, y0):
        ts = [0.0, 0.35, 1.0]
        return jnp.sum(nj.odeint(forced, y0, ts, (net, 2.0), solver=RosenbrockEuler(), controller=controller).ys ** 2)

    assert_close(*on_both(lambda: jax.grad(loss, argnums=(0, 1))(network(), jnp.array([1.0, -0.5]))))


def test_a_state_without_components_has_a_gradient():
    def loss(rate):
        return jnp.sum(nj.odeint(lambda t, y, rate: -rate * y, jnp.zeros((0,)), [0.0, 0.3, 1.0], rate).ys)

    assert_close(*on_both(lambda: jax.grad(loss)(2.0)))


def test_an_event_ends_one_system_where_it_does_on_a_cpu(x64):
    def loss(net, level):
        event = nj.Event(lambda t, y, args: y[0] - args[1])
        sol = nj.odeint(
            lambda t, y, args: forced(t, y, (args[0], 2.0)),
            jnp.array([1.0, 0.5]),
            [0.0, 2.0],
            (net, level),
            controller=PI,
            events=[event],
        )
        return sol.event_ts[0] + jnp.sum(sol.event_ys), (sol.status, sol.stats)

    expected, found = on_both(lambda: jax.grad(loss, argnums=(0, 1), has_aux=True)(network(), 0.6))
    assert expected[1][0] == nj.Status.event
    assert_close(found, expected)


@pytest.mark.parametrize("lanes", [None, 2])
def test_what_is_never_stepped_brings_nothing_into_the_gradient_of_the_others(x64, lanes):
    """A start of NaN, a field of its own that gives NaN, and one that breaks on the way."""
    net, good = network(), jnp.array([[1.0, 0.5], [-0.5, 0.2], [0.1, 0.9]])
    y0s = jnp.concatenate([good[:1], jnp.full((1, 2), jnp.nan), good[1:2], jnp.ones((2, 2)), good[2:]])
    breaks = jnp.array([jnp.inf, jnp.inf, jnp.inf, -1.0, 0.5, jnp.inf])

    def field(t, y, args):
        net, end = args
        return net(t, y, None) * jnp.where(t > end, jnp.nan, 1.0)

    def loss(net, y0s, breaks):
        sol = nj.odeint_batch(
            field, y0s, [0.0, 0.4, 1.0], (net, breaks), in_axes=(0, None, (None, 0)), controller=PI, lanes=lanes
        )
        is_fine = (sol.status == nj.Status.success)[:, None, None]
        return jnp.sum(jnp.where(is_fine, sol.ys, 0.0) ** 2)

    found = jax.grad(loss)(net, y0s, breaks)
    expected = jax.grad(loss)(net, good, jnp.full(3, jnp.inf))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected)


def test_no_step_makes_anything_of_the_size_of_the_parameters():
    width, y0s = 13, jnp.ones((5, 2))

    def loss(net):
        args = (net, 1.0)
        sol = nj.odeint_batch(forced, y0s, [0.0, 0.5, 1.0], args, in_axes=(0, None, None), controller=PI)
        return jnp.sum(sol.ys**2)

    program = jax.make_jaxpr(jax.grad(loss))(network(width)).jaxpr
    counted = [eqn for eqn in equations(program) if eqn.primitive.name == "scan" and eqn.params["length"] > 1]
    assert counted
    steps = [eqn.params["jaxpr"].jaxpr for eqn in counted]
    products = [eqn for body in steps for eqn in equations(body) if eqn.primitive.name == "dot_general"]
    made = {eqn.outvars[0].aval.shape for eqn in products}
    assert made
    assert not made & {(width, 2), (2, width)}
