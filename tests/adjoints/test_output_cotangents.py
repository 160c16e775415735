"""Cotangents of outputs are collected by the transpose of what reads them, however many lie in a step."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.interpolate.dense import DensePath
from node_jax.solvers import Tsit5
from node_jax.stepping.outputs import collect_cotangents, collect_cotangents_by_step

NODES = np.array([0.0, 0.4, 0.4, 0.5, 3.0, np.inf, np.inf])
"""A step of no length, one with most of the times, and two without an end."""


def transposed(path, ts, direction, rows):
    """By differentiating the reading: cotangents of nodes."""
    return jax.vjp(
        lambda nodes: DensePath(path.times, nodes, path.num_coefficients).evaluate(ts, direction), path.nodes
    )[1](rows)[0]


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("num_times", [3, 40, 150])
@pytest.mark.parametrize("size", [3, 64])
def test_cotangents_of_rows_are_those_of_the_parts_of_their_steps(x64, size, num_times, direction):
    solver = Tsit5()
    ts = direction * jnp.linspace(0.0, 2.9, num_times)
    problem = types.SimpleNamespace(ts=ts, direction=direction, solver=solver, y0=jnp.zeros(size))
    times = direction * jnp.asarray(NODES)
    rows = jax.random.normal(jax.random.key(0), (num_times, size)).at[0].set(0.0)
    nodes = jnp.zeros((len(NODES), 1 + solver.num_coefficients, size))
    expected = transposed(DensePath(times, nodes, solver.num_coefficients), ts, direction, rows)
    # The end of one step and the start of the next are one node.
    by_node = jnp.zeros_like(expected).at[1:, 0].add
    for collect in (collect_cotangents, collect_cotangents_by_step):
        parts = collect(problem, times, rows)
        found = by_node(parts[:, 1]).at[:-1, 0].add(parts[:, 0]).at[1:, 1:].set(parts[:, 2:])
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_lane_leaves_out_the_rows_that_pad_its_times(x64):
    problem = types.SimpleNamespace(
        ts=jnp.array([0.0, 1.0, 2.0, 2.0, 2.0]), direction=1.0, solver=Tsit5(), y0=jnp.zeros(3)
    )
    rows = jnp.ones((5, 3))
    found = collect_cotangents_by_step(problem, jnp.array([0.0, 1.5, 2.0]), rows, jnp.int32(3))
    np.testing.assert_allclose(jnp.sum(found[:, :2], axis=1), jnp.ones((2, 3)))


@pytest.mark.parametrize("adjoint", [nj.CheckpointedAdjoint(), nj.BacksolveAdjoint()], ids=str)
def test_many_large_outputs_of_which_some_are_the_start_and_some_are_not_read(adjoint):
    ts, weights = (
        jnp.array([0.0, 0.0, 0.2, 0.2, 0.5, 0.7, 0.9, 1.0]),
        jnp.array([1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 0.0, 0.0]),
    )
    y0 = jnp.linspace(1.0, 2.0, 2**19)

    def loss(y0):
        sol = nj.odeint(
            lambda t, y, args: -y, y0, ts, solver=nj.RK4(), controller=nj.ConstantStep(0.05), adjoint=adjoint
        )
        return jnp.sum(weights @ sol.ys)

    expected = jnp.sum(weights * jnp.exp(-ts))
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(y0), jnp.full(y0.shape, expected), rtol=1e-5)
