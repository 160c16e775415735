"""Stages in one loop and stages written out are the same method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.solvers.stepping import largest_difference, walk

SOLVERS = {"Euler": nj.Euler, "RK4": nj.RK4, "Tsit5": nj.Tsit5, "Dopri8": nj.Dopri8}
Y0 = {"position": (1.0, -0.3), "speed": 0.4}


def _field(t, y):
    return {"position": jnp.cos(3 * t) * y["position"] * y["speed"], "speed": -jnp.sum(y["position"] ** 2)}


def _y0():
    return jax.tree.map(jnp.asarray, Y0, is_leaf=lambda x: isinstance(x, tuple))


def _step(solver, y0, dense=True, with_f0=True):
    t0, dt = jnp.asarray(0.2), jnp.asarray(0.3)
    return solver.step(_field, t0, dt, y0, _field(t0, y0) if with_f0 else None, dense=dense)


@pytest.mark.parametrize("with_f0", [True, False], ids=["f0", "no f0"])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "ends"])
@pytest.mark.parametrize("name", SOLVERS)
def test_both_forms_give_the_same_step(precision, name, dense, with_f0):
    written, looped = (_step(SOLVERS[name](scan_stages=scan), _y0(), dense, with_f0) for scan in (False, True))
    assert jax.tree.structure(written) == jax.tree.structure(looped)
    assert largest_difference(written, looped) < (1e-6 if precision == "float32" else 1e-14)


@pytest.mark.parametrize("name", ["Tsit5", "Dopri8"])
def test_both_forms_give_the_same_derivatives_in_both_modes(x64, name):
    def end(y0, scan):
        step = _step(SOLVERS[name](scan_stages=scan), y0)
        return step.z1, step.error

    for jacobian in (jax.jacrev, jax.jacfwd):
        written, looped = (jax.jit(jacobian(lambda y0, scan=scan: end(y0, scan)))(_y0()) for scan in (False, True))
        assert largest_difference(written, looped) < 1e-13


def test_the_loop_works_under_vmap(precision):
    y0s = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), _y0())
    step = jax.jit(lambda y0: _step(nj.Dopri8(), y0))
    many = jax.vmap(step)(y0s)
    for i in range(3):
        one = step(jax.tree.map(lambda leaf, i=i: leaf[i], y0s))
        row = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        assert largest_difference(one, row) < (2e-6 if precision == "float32" else 1e-14)


@pytest.mark.parametrize(
    ("solver", "dense", "copies"),
    [
        (nj.Tsit5(), True, 7),
        (nj.Tsit5(scan_stages=True), True, 1),
        (nj.Bosh5(), True, 8),
        (nj.Dopri8(), False, 1),
        (nj.Dopri8(), True, 2),
        (nj.Dopri8(scan_stages=False), True, 17),
    ],
    ids=["Tsit5", "Tsit5 scanned", "Bosh5", "Dopri8", "Dopri8 with dense output", "Dopri8 written out"],
)
def test_a_loop_over_stages_holds_the_field_once(solver, dense, copies):
    def field(t, y):
        return jnp.tanh(y) * t

    def step(y0):
        return solver.step(field, jnp.asarray(0.1), jnp.asarray(0.2), y0, None, dense=dense)

    assert str(jax.make_jaxpr(step)(jnp.ones(2))).count("tanh") == copies


@pytest.mark.parametrize("solver", [nj.Dopri8(), nj.CashKarp5(scan_stages=True), nj.CashKarp5()], ids=str)
def test_evaluations_are_counted_of_a_loop_that_leaves_none_out(solver):
    counts = []

    def count(y):
        counts.append(1)
        return np.zeros_like(y)

    def field(t, y, args):
        return -y + jax.pure_callback(count, jax.ShapeDtypeStruct(y.shape, y.dtype), y)

    controller = nj.PIController(jump_ts=[0.7])
    sol = jax.block_until_ready(nj.odeint(field, jnp.ones(2), [0.0, 3.0], solver=solver, controller=controller))
    assert int(sol.stats.num_evals) == len(counts)


def test_the_loop_keeps_the_fields_own_precision(x64):
    """A field that answers in fewer bits than the state has: the next step gets its f0 in the same dtype."""

    def field(t, y):
        return (-y).astype(jnp.float32)

    y0 = jnp.ones(2)
    for scan in (False, True):
        step = nj.Tsit5(scan_stages=scan).step(field, jnp.asarray(0.0), jnp.asarray(0.1), y0, field(0.0, y0))
        assert (step.z1.dtype, step.f1.dtype) == (jnp.float64, jnp.float32)


def test_the_loop_runs_inside_shard_map():
    from jax.sharding import AxisType
    from jax.sharding import PartitionSpec as P

    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))

    def end(y0):
        return nj.Dopri8().step(lambda t, y: -t * y, jnp.asarray(0.1), jnp.asarray(0.2), y0, None).z1

    sharded = jax.jit(jax.shard_map(end, mesh=mesh, in_specs=P("data"), out_specs=P("data")))
    np.testing.assert_allclose(sharded(jnp.ones(4)), np.exp(-0.04) * np.ones(4), rtol=1e-6)


def test_a_long_walk_is_the_same_in_both_forms(x64):
    y0 = _y0()
    written, looped = (walk(nj.Dopri8(scan_stages=scan), _field, y0, 0.0, 2.0, 20).z for scan in (False, True))
    assert largest_difference(written, looped) < 1e-13
