"""A state moved along a sum of slopes is one equation, and behaves in every way as the operations it stands for."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import node_jax as nj
from node_jax.advance import tree_advance
from node_jax.tree import tree_axpy, tree_weighted_sum

WEIGHTS = (0.25, 0.0, -1.5, 1.0)


def operations(y, dt, *slopes):
    """The same by operations that JAX knows."""
    return tree_axpy(dt, tree_weighted_sum(WEIGHTS, slopes), y)


def advance(y, dt, *slopes):
    return tree_advance(y, dt, WEIGHTS, slopes)


def operands(shape=(3,), dtype="float64"):
    """y, dt and four slopes, in float64 but for a `dtype` that is asked for."""
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=size), dtype) for size in (shape, (), *[shape] * 4)]


def equations(function, *args):
    return [equation.primitive.name for equation in jax.make_jaxpr(function)(*args).eqns]


def test_it_is_the_sum_bit_for_bit(precision):
    args = operands(dtype=precision)
    np.testing.assert_array_equal(advance(*args), operations(*args))
    np.testing.assert_array_equal(jax.jit(advance)(*args), jax.jit(operations)(*args))


def test_it_is_one_equation_for_each_leaf_and_of_a_zero_weight_none():
    y, dt, *slopes = operands(dtype="float32")
    tree = {"a": y, "b": (y,)}
    found = equations(lambda y, dt, k: tree_advance(y, dt, (1.0, 0.0), (k, k)), tree, dt, tree)
    assert found == ["advance", "advance"]
    assert equations(lambda y, dt, k: tree_advance(y, dt, (0.0,), (k,)), tree, dt, tree) == []
    assert tree_advance(tree, dt, (), ()) is tree
    (equation,) = jax.make_jaxpr(advance)(y, dt, *slopes).eqns
    assert len(equation.invars) == 2 + 3


def test_a_step_has_one_for_each_stage():
    solver, y = nj.Tsit5(), jnp.ones(2)
    found = equations(lambda y, dt: solver.step(lambda t, y: -y, 0.0 * dt, dt, y, None).z1, y, jnp.ones(()))
    assert found.count("advance") == 6


MOVED = [moved for n in (1, 2, 6) for moved in itertools.combinations(range(6), n)]
"""Which operands a derivative is taken for: any one or two, and all of them."""


@pytest.mark.parametrize("moved", MOVED, ids=str)
def test_its_derivatives_are_those_of_the_sum(x64, moved):
    args = operands()

    def as_one_of_the_moved(function):
        def of(*some):
            every = list(args)
            for place, value in zip(moved, some, strict=True):
                every[place] = value
            return jnp.sum(jnp.sin(function(*every)))

        return of

    at, along = tuple(args[i] for i in moved), tuple(jnp.cos(args[i]) for i in moved)
    numbers = tuple(range(len(moved)))

    def derivatives(function):
        of = as_one_of_the_moved(function)
        gradient = jax.grad(of, numbers)
        return (
            gradient(*at),
            jax.jvp(of, at, along),
            jax.jvp(gradient, at, along),
            jax.grad(lambda *some: sum(jnp.sum(leaf**2) for leaf in gradient(*some)), numbers)(*at),
        )

    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
    jax.tree.map(close, derivatives(advance), derivatives(operations))


@pytest.mark.parametrize("moved", MOVED, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_under_vmap_it_is_the_sum_for_each_row_and_stays_one_equation(x64, moved, axis):
    args = operands((3, 2))
    axes = [(min(axis, args[i].ndim) if i in moved else None) for i in range(6)]
    many = [arg if at is None else jnp.stack([arg, 2 * arg, arg - 1], at) for arg, at in zip(args, axes, strict=True)]
    found = jax.vmap(advance, axes)(*many)
    np.testing.assert_array_equal(found, jax.vmap(operations, axes)(*many))
    names = equations(jax.vmap(advance, axes), *many)
    # The second slope has the weight zero.
    assert names.count("advance") == 1
    assert set(names) <= {"advance", "broadcast_in_dim", "transpose"}
    twice = jax.vmap(jax.vmap(lambda y, dt: advance(y, dt, *args[2:]), (0, None)), (None, 0))
    ys, dts = jnp.stack([args[0]] * 2), jnp.arange(4.0)
    np.testing.assert_array_equal(twice(ys, dts), [[operations(y, dt, *args[2:]) for y in ys] for dt in dts])


def test_a_gradient_of_rows_with_steps_of_their_own_is_that_of_each(x64):
    args = operands()
    many = [jnp.stack([arg, arg + 1]) for arg in args]

    def of(function):
        return jax.grad(lambda *some: jnp.sum(jnp.sin(jax.vmap(function)(*some))), tuple(range(6)))(*many)

    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), of(advance), of(operations))


def test_slopes_of_fewer_bits_are_added_in_the_dtype_of_the_state():
    y, dt, *slopes = operands(dtype="float32")
    slopes = [slope.astype(jnp.bfloat16) for slope in slopes]
    found = advance(y, dt, *slopes)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, operations(y, dt, *slopes))


@pytest.mark.parametrize("knows_axes", [True, False])
def test_inside_shard_map_a_state_of_all_devices_moves_along_slopes_of_each(knows_axes):
    y, dt, *slopes = operands((1,), "float32")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    each = PartitionSpec("data")
    mapped = jax.shard_map(
        lambda dt, *slopes: advance(y, dt, *slopes),
        mesh=mesh,
        in_specs=(PartitionSpec(), *[each] * 4),
        out_specs=each,
        check_vma=knows_axes,
    )
    np.testing.assert_array_equal(jax.jit(mapped)(dt, *slopes), operations(y, dt, *slopes))


def test_where_types_tell_of_shardings_that_of_the_slopes_is_kept():
    y, dt, *slopes = operands((1,), "float32")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    slopes = [jax.device_put(slope, NamedSharding(mesh, PartitionSpec("data"))) for slope in slopes]
    with jax.set_mesh(mesh):
        found = jax.jit(advance)(y, dt, *slopes)
    assert jax.typeof(found).sharding.spec == PartitionSpec("data")
    np.testing.assert_array_equal(found, operations(*operands((1,), "float32")))
