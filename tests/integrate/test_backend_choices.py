"""What is chosen by the backend, the size of a batch and its controller: lanes, room on the tape, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.stepping.batch import Batch, choose_lanes, choose_max_rows
from node_jax.stepping.problem import Problem
from tests.adjoints.test_products import products
from tests.backend import use_backend

PI = nj.PIController()


def precisions(backend, ask=None):
    """Of the matrix products in a gradient."""
    net = nj.fields.MLP(dim=2, width=8, depth=1, key=jax.random.key(0))

    def loss(net):
        return jnp.sum(nj.odeint(lambda t, y, net: net(t, y, None), jnp.ones((3, 2)), [0.0, 1.0], net).ys)

    with use_backend(backend), jax.default_matmul_precision(ask):
        jax.clear_caches()
        found = products(jax.grad(loss), net)
    jax.clear_caches()
    return {product.params["precision"] for product in found}


def test_products_in_a_field_are_not_rounded_unless_asked_for():
    assert precisions("gpu") == {(jax.lax.Precision.HIGHEST,) * 2}
    assert precisions("gpu", "high") == {(jax.lax.Precision.HIGH,) * 2}


def test_products_on_a_cpu_are_left_alone():
    assert precisions("cpu") == {None}


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
def test_lanes_are_chosen_by_backend_size_and_controller(backend, batch, lanes):
    with use_backend(backend):
        assert choose_lanes(None, batch_of(**batch)) == lanes
        assert choose_lanes(3, batch_of(**batch)) == 3


def test_each_turn_of_the_queue_has_room_on_the_tape():
    assert choose_max_rows(None, batch_of(200, 2), 64) == 4096 + 3 * 512
    assert choose_max_rows(17, batch_of(200, 2), 64) == 17


@pytest.mark.parametrize(("size", "turn"), [(200, 4096), (8192, 2048), (100_000, 512)])
def test_equal_steps_have_room_for_all_of_them_while_it_is_small(size, turn):
    num_turns = -(-size // 64)
    assert choose_max_rows(None, batch_of(size, 2, EQUAL), 64) == 4096 + (num_turns - 1) * turn


def test_a_thousand_equal_steps_of_many_trajectories_fit(x64):
    y0s = jnp.linspace(0.0, 1.0, 100)
    sol = nj.odeint_batch(lambda t, y, _: -y, y0s, [0.0, 1.0], controller=nj.ConstantStep(1e-3), lanes=8)
    assert np.all(sol.status == nj.Status.success)
    np.testing.assert_allclose(sol.ys[:, -1], y0s * np.exp(-1.0), rtol=1e-9)
