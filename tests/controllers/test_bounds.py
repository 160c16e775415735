"""Bounds of the step size, tolerances that differ from leaf to leaf, and tolerances that are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def decay(t, y, args):
    return -y


def two_scales(t, y, args):
    """A slow leaf and a fast one."""
    return {"slow": -y["slow"], "fast": {"a": 40 * jnp.cos(40 * t) * jnp.ones_like(y["fast"]["a"])}}


Y0 = {"slow": jnp.ones(2), "fast": {"a": jnp.zeros(3)}}


@pytest.mark.parametrize("ends", [[0.0, 2.0], [2.0, 0.0]], ids=["forward", "backward"])
def test_no_step_leaves_the_bounds(ends):
    def field(t, y, args):
        return 5 * jnp.cos(jnp.exp(2.5 * t)) * jnp.ones_like(y)

    free = nj.odeint(field, jnp.ones(1), ends, steps=True)
    sizes = np.abs(np.asarray(free.steps.dt))[: int(free.stats.num_accepted)]
    low, high = 2 * float(sizes[:-1].min()), 0.5 * float(sizes.max())
    controller = nj.PIController(dtmin=low, dtmax=high, rtol=1e-2, atol=1e-2)
    sol = nj.odeint(field, jnp.ones(1), ends, controller=controller, steps=True)
    assert int(sol.status) == nj.Status.success
    sizes = np.abs(np.asarray(sol.steps.dt))[: int(sol.stats.num_accepted)]
    # A step may be stretched by a thousandth, and the last may be shorter.
    assert sizes.max() <= 1.002 * high
    assert sizes[:-1].min() >= 0.999 * low


def test_a_rejected_step_of_dtmin_ends_the_solve():
    controller = nj.PIController(dtmin=0.05, dt0=0.05)
    sol = nj.odeint(lambda t, y, args: jnp.cos(300 * t) * y, jnp.ones(1), [0.0, 1e3], controller=controller)
    assert int(sol.status) == nj.Status.dt_underflow
    assert int(sol.stats.num_accepted) == 0
    assert int(sol.stats.num_rejected) == 1


def test_dtmin_does_not_forbid_a_shorter_last_step():
    controller = nj.PIController(dtmin=0.3, dtmax=0.3, rtol=1e-1, atol=1e-1)
    sol = nj.odeint(decay, jnp.ones(1), [0.0, 1.0], controller=controller, steps=True)
    assert int(sol.status) == nj.Status.success
    np.testing.assert_allclose(np.asarray(sol.steps.dt)[:4], [0.3, 0.3, 0.3, 0.1], rtol=1e-5)


@pytest.mark.parametrize(
    "atol",
    [{"slow": 1e-6, "fast": 1e3}, {"slow": 1e-6, "fast": {"a": 1e3}}],
    ids=["a prefix of the state", "one number a leaf"],
)
def test_a_loose_leaf_does_not_drive_the_steps(atol):
    def num_steps(controller):
        sol = nj.odeint(two_scales, Y0, [0.0, 2.0], controller=controller)
        assert int(sol.status) == nj.Status.success
        return int(sol.stats.num_accepted), float(sol.ys["slow"][-1, 0])

    everywhere, _ = num_steps(nj.PIController(rtol=1e-6, atol=1e-6))
    loose, slow = num_steps(nj.PIController(rtol=1e-6, atol=atol))
    assert loose <= everywhere / 4
    np.testing.assert_allclose(slow, np.exp(-2.0), rtol=1e-5)
    # The other way round nothing is gained.
    assert num_steps(nj.PIController(rtol=1e-6, atol={"slow": 1e3, "fast": 1e-6}))[0] >= 0.8 * everywhere


def test_a_tolerance_tree_of_equal_numbers_is_the_number():
    tree = {"slow": 1e-5, "fast": 1e-5}
    one = nj.odeint(two_scales, Y0, [0.0, 2.0], controller=nj.PIController(rtol=1e-5, atol=1e-5), steps=True)
    two = nj.odeint(two_scales, Y0, [0.0, 2.0], controller=nj.PIController(rtol=tree, atol=tree), steps=True)
    np.testing.assert_allclose(one.steps.dt, two.steps.dt, rtol=1e-3)


@pytest.mark.parametrize("adjoint", [nj.BacksolveAdjoint(), nj.GaussAdjoint(), nj.CheckpointedAdjoint()], ids=str)
def test_gradients_with_a_tolerance_tree(x64, adjoint):
    controller = nj.PIController(rtol=1e-8, atol={"slow": 1e-8, "fast": 1e-6})

    def end(y0):
        sol = nj.odeint(two_scales, y0, [0.0, 1.0], controller=controller, adjoint=adjoint)
        return jnp.sum(sol.ys["slow"][-1]) + 2 * jnp.sum(sol.ys["fast"]["a"][-1])

    y0 = jax.tree.map(lambda leaf: leaf.astype(float), Y0)
    gradient = jax.grad(end)(y0)
    np.testing.assert_allclose(gradient["slow"], np.exp(-1.0), rtol=1e-6)
    np.testing.assert_allclose(gradient["fast"]["a"], 2.0, rtol=1e-6)


def test_a_tree_that_holds_a_bad_tolerance_is_refused():
    with pytest.raises(ValueError, match="atol to be finite and greater than 0"):
        nj.odeint(two_scales, Y0, [0.0, 1.0], controller=nj.PIController(atol={"slow": 1e-6, "fast": 0.0}))


@pytest.mark.parametrize("shape", [(3,), (4, 2)])
def test_a_tolerance_that_does_not_broadcast_against_the_state_is_refused(shape):
    with pytest.raises(ValueError, match="rtol to broadcast against the state"):
        nj.odeint(
            lambda t, y, args: -y, jnp.ones(2), [0.0, 1.0], controller=nj.PIController(rtol=jnp.full(shape, 1e-3))
        )


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (nj.ConstantStep(jnp.array([0.1])), r"dt to be one number, got shape \(1,\)"),
        (nj.PIController(dt0=jnp.ones(2)), r"dt0 to be one number, got shape \(2,\)"),
        (nj.PIController(pcoeff=float("nan")), "pcoeff to be finite"),
    ],
)
def test_what_must_be_one_finite_number_is(controller, message):
    with pytest.raises(ValueError, match=message):
        nj.odeint(lambda t, y, args: -y, jnp.ones(2), [0.0, 1.0], controller=controller)


def test_tolerances_and_bounds_may_be_traced_and_mapped():
    traces = []

    def field(t, y, args):
        traces.append(1)
        return -y

    def num_steps(rtol, dtmax):
        controller = nj.PIController(rtol=rtol, atol=rtol, dtmax=dtmax)
        return nj.odeint(field, jnp.ones(1), [0.0, 1.0], controller=controller).stats.num_accepted

    rtols, bounds = jnp.array([1e-2, 1e-4, 1e-2]), jnp.array([1.0, 1.0, 0.01])
    mapped = jax.jit(jax.vmap(num_steps))(rtols, bounds)
    assert int(mapped[0]) < int(mapped[1]) < int(mapped[2])
    assert int(mapped[2]) >= 100
    num = len(traces)
    alone = [int(jax.jit(num_steps)(rtol, bound)) for rtol, bound in zip(rtols, bounds, strict=True)]
    np.testing.assert_array_equal(mapped, alone)
    assert len(traces) <= 2 * num
