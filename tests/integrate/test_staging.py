"""A solve is compiled where it is called from Python, and becomes a part of a program that is traced already."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import node_jax as nj


def field(t, y, args):
    return -args["rate"] * y


def loss(y0, rate):
    """NumPy's numbers beside those of JAX, as a user hands them in."""
    sol = nj.odeint(field, y0, np.linspace(0.0, 1.0, 4), {"rate": rate * np.float32(2.0)}, max_steps=64)
    return jnp.sum(sol.ys[-1])


def in_program(y0, rate):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(y0, rate)


def under_checkpoint(y0, rate):
    return jax.value_and_grad(jax.checkpoint(loss), argnums=(0, 1))(y0, rate)


def under_shard_map(y0, rate):
    mesh, everywhere = jax.make_mesh((1,), ("data",)), PartitionSpec()
    solve = jax.shard_map(
        lambda y0, rate: jax.value_and_grad(loss, argnums=(0, 1))(y0, rate),
        mesh=mesh,
        in_specs=everywhere,
        out_specs=everywhere,
        check_vma=False,
    )
    return solve(y0, rate)


def in_program_under_shard_map(y0, rate):
    return jax.jit(under_shard_map)(y0, rate)


@pytest.mark.parametrize(
    "call", [in_program, under_checkpoint, under_shard_map, in_program_under_shard_map], ids=lambda f: f.__name__
)
def test_a_gradient_is_the_same_wherever_it_is_taken(call):
    y0, rate = jnp.array([1.0, 2.0]), jnp.asarray(0.5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        call(y0, rate),
        jax.value_and_grad(loss, argnums=(0, 1))(y0, rate),
    )


def programs_in(program):
    return [equation.params["name"] for equation in program.eqns if equation.primitive.name in ("jit", "pjit")]


def test_a_gradient_in_a_program_holds_no_program_of_a_solve_and_a_python_call_compiles_one():
    y0, rate = jnp.array([1.0, 2.0]), jnp.asarray(0.5)
    assert "_solve" in programs_in(jax.make_jaxpr(loss)(y0, rate))
    assert "_solve" not in programs_in(jax.make_jaxpr(jax.grad(loss))(y0, rate))
    # What is recorded may be run operation by operation later.
    (record,) = jax.make_jaxpr(jax.checkpoint(loss))(y0, rate).eqns
    assert "_solve" in programs_in(record.params["jaxpr"])
    traces = []

    def counted(t, y, args):
        traces.append(1)
        return -args * y

    counts = []
    for size in (1.0, 2.0, 3.0):
        nj.odeint(counted, jnp.array([size]), [0.0, 1.0], size)
        jax.grad(lambda y0, size=size: nj.odeint(counted, y0, [0.0, 1.0], size).ys[-1, 0])(jnp.array([size]))
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts == counts[:1] * 3
