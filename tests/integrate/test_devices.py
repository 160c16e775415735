import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.integrate.devices import deal


@pytest.fixture(scope="module")
def found():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8", "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrate.devices_script"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "case",
    [
        "dealt",
        "37 trajectories, explicit axis",
        "mesh with a second axis",
        "sharded inputs",
        "a sharded hint of the cost",
        "inside shard_map",
    ],
)
def test_eight_devices_give_the_solutions_of_one(found, case):
    assert found[case] < 1e-9


@pytest.mark.parametrize("case", ["dealt, gradient", "sharded inputs, gradient"])
def test_eight_devices_give_the_gradients_of_one(found, case):
    assert found[case] < 1e-9


def test_devices_exchange_nothing_within_a_loop_and_sum_the_gradient_after_it(found):
    assert found["collectives in loops"] == 0
    assert found["collectives outside"] > 0


def test_sharded_inputs_have_sharded_outputs(found):
    assert found["sharded outputs"] == "data"


def test_the_efficiency_of_all_devices_counts_those_that_wait(found):
    assert 0.2 < found["efficiency"] <= 1


@pytest.mark.parametrize(("size", "num_devices"), [(1, 8), (8, 8), (37, 8), (5, 1), (64, 4)])
def test_dealing_gives_every_trajectory_one_place_and_devices_equal_shares_of_a_sorted_batch(size, num_devices):
    order, places = deal(size, num_devices)
    np.testing.assert_array_equal(order[places], np.arange(size))
    shares = order.reshape(num_devices, -1)
    counts = (shares < size).sum(axis=1)
    assert counts.max() - counts.min() <= 1
    assert (np.diff(shares, axis=1)[shares[:, 1:] < size] == num_devices).all()


@pytest.mark.parametrize(
    ("mesh", "axis", "error", "message"),
    [
        (8, "data", TypeError, "expected mesh to be a jax.sharding.Mesh"),
        ("mesh", "rows", ValueError, "expected batch_axis to be an axis of the mesh"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(mesh, axis, error, message):
    if mesh == "mesh":
        mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises(error, match=message):
        nj.odeint_batch(lambda t, y, args: -y, jnp.ones((2, 1)), [0.0, 1.0], mesh=mesh, batch_axis=axis)


def test_a_mesh_of_one_device_changes_nothing():
    y0s, ts = jnp.ones((3, 1)) * jnp.arange(1.0, 4.0)[:, None], jnp.linspace(0.0, 1.0, 4)
    alone = nj.odeint_batch(lambda t, y, args: -y, y0s, ts)
    mesh = jax.make_mesh((1,), ("data",))
    placed = nj.Integrator().batch(lambda t, y, args: -y, y0s, ts, mesh=mesh)
    np.testing.assert_array_equal(placed.ys, alone.ys)
    assert int(placed.stats.num_executed) == int(alone.stats.num_executed)
