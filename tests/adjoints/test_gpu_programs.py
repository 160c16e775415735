"""The programs that a GPU gets, run on a CPU: loops of known length, and gradients for parameters a chunk at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.stepping.batch import Batch, choose_lanes, choose_max_rows
from node_jax.stepping.problem import Problem
from tests.adjoints.test_lanes import _gradient, assert_same_gradient, gradient
from tests.adjoints.test_programs import equations
from tests.integrate.batch_cases import keywords_of, solve_batch

PI = nj.PIController(rtol=1e-6, atol=1e-8, dt0=0.1)


@pytest.fixture
def gpu(monkeypatch):
    """The choices that are made for a GPU."""
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
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
    *((name, True, 6, 3) for name in ("Tsit5", "jumps", "Dopri8")),
]


@pytest.mark.parametrize(("name", "is_ragged", "num_times", "lanes"), CASES)
def test_the_gradient_of_a_batch_is_that_of_its_trajectories(x64, gpu, name, is_ragged, num_times, lanes):
    x, expected = _gradient(name, is_ragged, num_times)
    assert_same_gradient(gradient(solve_batch, x, lanes=lanes, **keywords_of(name)), expected)


@pytest.mark.parametrize("ts", [[0.0, 2.0], [0.0, 0.3, 1.0, 2.0]])
def test_one_system_has_the_steps_and_the_gradient_that_it_has_on_a_cpu(x64, monkeypatch, ts):
    net, y0 = network(), jnp.array([[1.0, -0.5], [0.3, 2.0]])

    def loss(net, y0, ts):
        sol = nj.odeint(forced, y0, ts, (net, 2.0), controller=PI)
        return jnp.sum(jnp.cos(jnp.arange(sol.ys.size)).reshape(sol.ys.shape) * sol.ys), sol.stats

    found = []
    for backend in ("cpu", "gpu"):
        jax.clear_caches()
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        first = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(net, y0, jnp.array(ts))
        second = jax.hessian(lambda y0: loss(net, y0, jnp.array(ts))[0])(y0[0])
        found.append((first, second))
    jax.clear_caches()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), *found)


@pytest.mark.parametrize("lanes", [None, 2])
def test_what_is_never_stepped_brings_nothing_into_the_gradient_of_the_others(x64, gpu, lanes):
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


def test_no_step_makes_anything_of_the_size_of_the_parameters(gpu):
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


def precisions(ask=None):
    """Of the matrix products in a gradient."""
    net = network()

    def loss(net):
        return jnp.sum(nj.odeint(lambda t, y, net: net(t, y, None), jnp.ones((3, 2)), [0.0, 1.0], net).ys)

    with jax.default_matmul_precision(ask):
        program = jax.make_jaxpr(jax.grad(loss))(net).jaxpr
    return {eqn.params["precision"] for eqn in equations(program) if eqn.primitive.name == "dot_general"}


def test_products_in_a_field_are_not_rounded_unless_asked_for(gpu):
    assert precisions() == {(jax.lax.Precision.HIGHEST,) * 2}
    assert precisions("high") == {(jax.lax.Precision.HIGH,) * 2}


def test_products_on_a_cpu_are_left_alone():
    assert precisions() == {None}


def batch_of(size, dim, controller=PI, has_own_times=False):
    ts = jnp.linspace(0.0, 1.0, 3)
    ts = jnp.broadcast_to(ts, (size, 3)) if has_own_times else ts
    problem = Problem(None, jnp.zeros((size, dim)), ts, jnp.ones(()), nj.Tsit5(), controller, max_steps=4096)
    is_mapped = jax.tree.map(lambda leaf: jnp.shape(leaf)[:1] == (size,), problem)
    return Batch(problem, tuple(jax.tree.leaves(is_mapped)), size)


EQUAL = nj.ConstantStep(0.1)
LANES = [
    ("cpu", {"size": 128, "dim": 2}, 128),
    ("cpu", {"size": 129, "dim": 2}, 64),
    ("cpu", {"size": 8192, "dim": 2}, 256),
    ("cpu", {"size": 1000, "dim": 2, "controller": EQUAL}, 256),
    ("cpu", {"size": 1000, "dim": 2, "controller": EQUAL, "has_own_times": True}, 64),
    ("cpu", {"size": 200, "dim": 100_000}, 10),
    ("gpu", {"size": 4096, "dim": 2}, 4096),
    ("gpu", {"size": 300_000, "dim": 2}, 150_000),
    ("gpu", {"size": 300_000, "dim": 2, "controller": EQUAL}, 300_000),
]


@pytest.mark.parametrize(("backend", "batch", "lanes"), LANES)
def test_lanes_are_chosen_by_backend_size_and_controller(monkeypatch, backend, batch, lanes):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert choose_lanes(None, batch_of(**batch)) == lanes
    assert choose_lanes(3, batch_of(**batch)) == 3


@pytest.mark.parametrize(("controller", "turn"), [(PI, 512), (EQUAL, 4096)])
def test_each_turn_of_the_queue_has_room_on_the_tape(controller, turn):
    assert choose_max_rows(None, batch_of(200, 2, controller), 64) == 4096 + 3 * turn
    assert choose_max_rows(17, batch_of(200, 2, controller), 64) == 17


def test_a_thousand_equal_steps_of_many_trajectories_fit(x64):
    y0s = jnp.linspace(0.0, 1.0, 300)
    sol = nj.odeint_batch(lambda t, y, _: -y, y0s, [0.0, 1.0], controller=nj.ConstantStep(1e-3), lanes=8)
    assert np.all(sol.status == nj.Status.success)
    np.testing.assert_allclose(sol.ys[:, -1], y0s * np.exp(-1.0), rtol=1e-9)
