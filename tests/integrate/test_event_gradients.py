"""Gradients of event times, of states there, and of what comes after: against closed forms."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from tests.adjoints.cases import ADJOINTS, weigh
from tests.integrate.event_cases import (
    BALL,
    FINE,
    TIGHT,
    before_bounces,
    bounce,
    bounce_times,
    bounced,
    clear,
    concentration,
    dose,
    drop,
    fall,
)

TS = np.linspace(0.0, 2.0, 6)
ADAPTIVE = {"controller": TIGHT, "max_steps": 64}
WITH_JUMPS = {
    "store all": nj.CheckpointedAdjoint(),
    "replay": nj.CheckpointedAdjoint(checkpoints=4),
    "direct": nj.DirectAdjoint(),
    "forward": nj.ForwardMode(),
}


def derivative(adjoint):
    return jax.jacfwd if isinstance(adjoint, nj.ForwardMode) else jax.grad


def three_bounces(ys, event_ts, event_ys):
    return weigh((ys, event_ts[:3], event_ys[:3]))


def three_exact_bounces(drop_height, restitution):
    states = bounced(drop_height, restitution, jnp.asarray(TS), 3), before_bounces(drop_height, restitution, 3)
    return weigh((states[0], bounce_times(drop_height, restitution, 3), states[1]))


@functools.cache
def exact_bounces():
    return jax.jit(jax.grad(three_exact_bounces, argnums=(0, 1)))


@pytest.mark.parametrize("name", WITH_JUMPS)
def test_a_bouncing_ball_has_the_gradient_of_its_closed_form(x64, name):
    adjoint = WITH_JUMPS[name]

    def loss(drop_height, restitution):
        settings = {"events": bounce(), **(ADAPTIVE if name == "store all" else BALL), "adjoint": adjoint}
        sol = nj.odeint(fall, drop(drop_height), TS, restitution, **settings)
        return three_bounces(sol.ys, sol.event_ts, sol.event_ys)

    found = jax.jit(derivative(adjoint)(loss, argnums=(0, 1)))(1.0, 0.8)
    np.testing.assert_allclose(found, exact_bounces()(1.0, 0.8), rtol=1e-10)


@functools.cache
def exact_batch_of_bounces():
    def exact(heights, restitution):
        return jnp.sum(jax.vmap(three_exact_bounces, (0, None))(heights, restitution))

    return jax.jit(jax.value_and_grad(exact, argnums=(0, 1)))


@pytest.mark.parametrize("lanes", [None, 2])
def test_a_batch_of_balls_has_the_summed_gradient(x64, lanes):
    heights = jnp.linspace(0.9, 1.2, 5)

    def loss(heights, restitution):
        settings = {"events": bounce(), "lanes": lanes, **BALL}
        sol = nj.odeint_batch(fall, drop(heights), TS, restitution, **settings)
        return jnp.sum(jax.vmap(three_bounces)(sol.ys, sol.event_ts, sol.event_ys))

    found = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(heights, 0.8)
    expected = exact_batch_of_bounces()(heights, 0.8)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), found, expected)


def test_the_gradient_under_vmap_reaches_closures_trees_and_modules(x64):
    """Restitution in a closure, gravity in a tree, the level of the ground in a module that is the condition."""

    class Ground(eqx.Module):
        level: jax.Array

        def __call__(self, t, y, args):
            del t, args
            return y["height"] - self.level

    def loss(drop_height, restitution, level, gravity):
        def field(t, y, args):
            return {"height": y["speed"], "speed": -args["planet"]["gravity"]}

        def jump(t, y, args):
            return {**y, "speed": -restitution * y["speed"]}

        event = nj.Event(Ground(level), direction=-1, terminate=False, jump=jump, max_events=4)
        y0 = {"height": drop_height, "speed": jnp.zeros(())}
        args = {"planet": {"gravity": gravity, "name": "earth"}}
        sol = nj.odeint(field, y0, TS, args, events=event, **BALL)
        return jnp.sum(jnp.sin(sol.event_ts[:3])) + sol.ys["height"][-1]

    def exact(drop_height, restitution, level, gravity):
        scale = jnp.sqrt(9.81 / gravity)
        times = scale * bounce_times(drop_height - level, restitution, 3)
        last = bounced(drop_height - level, restitution, jnp.asarray(TS) / scale, 3)[-1, 0]
        return jnp.sum(jnp.sin(times)) + level + last

    heights, others = jnp.array([1.0, 1.1]), (0.8, 0.1, 9.0)
    axes = (0, None, None, None)
    found, expected = (
        jax.jit(jax.grad(lambda *a, f=f: jnp.sum(jax.vmap(f, axes)(*a)), argnums=(0, 1, 2, 3)))(heights, *others)
        for f in (loss, exact)
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8)


def test_second_derivatives_of_a_bouncing_ball_are_right(x64):
    def last(drop_height, restitution):
        return nj.odeint(fall, drop(drop_height), [0.0, 2.0], restitution, events=bounce(), **BALL).ys[-1, 0]

    def exact(drop_height, restitution):
        return bounced(drop_height, restitution, jnp.array([0.0, 2.0]), 3)[-1, 0]

    found, expected = (jax.jit(jax.hessian(f, argnums=(0, 1)))(1.0, 0.8) for f in (last, exact))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def decay(t, y, args):
    return -args["rate"] * y


def to_threshold(t, y, args):
    return y - args["threshold"]


@pytest.mark.parametrize("name", [name for name in ADJOINTS if name not in ("replay", "gauss replay")])
def test_the_end_at_a_threshold_has_the_gradient_of_the_logarithm(x64, name):
    """τ = t0 + log(y0 / threshold) / rate, and rows behind it repeat the threshold."""
    adjoint = ADJOINTS[name]

    def loss(y0, rate, threshold, t0):
        ts, args = jnp.stack([t0, t0 + 0.5, t0 + 3.0, t0 + 4.0]), {"rate": rate, "threshold": threshold}
        settings = {"events": nj.Event(to_threshold), "adjoint": adjoint, **FINE}
        sol = nj.odeint(decay, y0, ts, args, **settings)
        return jnp.sin(sol.event_ts[0]) + jnp.sum(sol.ys * jnp.array([0.0, 1.0, 2.0, 3.0])) + 4 * sol.event_ys[0]

    def exact(y0, rate, threshold, t0):
        return jnp.sin(t0 + jnp.log(y0 / threshold) / rate) + y0 * jnp.exp(-0.5 * rate) + 9 * threshold

    inputs = (2.0, 1.1, 0.5, 0.3)
    found = jax.jit(derivative(adjoint)(loss, argnums=(0, 1, 2, 3)))(*inputs)
    np.testing.assert_allclose(found, jax.grad(exact, argnums=(0, 1, 2, 3))(*inputs), rtol=1e-6, atol=1e-7)


@functools.cache
def exact_doses():
    def exact(y0, ts, rate, amount, times):
        return weigh(concentration(y0, ts, {"rate": rate, "amount": amount}, times))

    return jax.jit(jax.grad(exact, argnums=tuple(range(5))))


@pytest.mark.parametrize("name", ["store all", "direct", "forward"])
def test_doses_have_the_gradient_of_their_closed_form(x64, name):
    """For the start of the solve too, in a field that depends on time."""
    adjoint = WITH_JUMPS[name]

    def loss(y0, ts, rate, amount, times):
        args = {"rate": rate, "amount": amount}
        settings = {"events": nj.Jump(times, dose), "adjoint": adjoint, **FINE}
        return weigh(nj.odeint(clear, y0, ts, args, **settings).ys)

    inputs = (1.0, jnp.array([0.1, 0.7, 1.2, 2.0]), 0.8, 0.5, jnp.array([1.1, 0.4, jnp.inf]))
    found = jax.jit(derivative(adjoint)(loss, argnums=tuple(range(5))))(*inputs)
    for mine, theirs in zip(found, exact_doses()(*inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)


def test_a_solve_that_fails_has_no_gradient(x64):
    def loss(threshold, y0):
        event = nj.Event(lambda t, y, args: args * y - 0.3, terminate=False)
        sol = nj.odeint(lambda t, y, args: -args * y, y0, [0.0, 1.0, 2.0], threshold, events=event, **BALL)
        return jnp.where(sol.status == nj.Status.success, sol.event_ts[0], 0.0)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    assert abs(gradient(1.0, 1.0)[1] - 1.0) < 1e-3
    np.testing.assert_array_equal(gradient(1.0, jnp.nan), (0.0, 0.0))
