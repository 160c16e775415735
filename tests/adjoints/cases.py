"""What the tests of adjoints share: adjoints, fields, times, and gradients that are compiled once."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import node_jax as nj

REVERSE = {
    "checkpointed": nj.CheckpointedAdjoint(),
    "replay": nj.CheckpointedAdjoint(checkpoints=8),
    "direct": nj.DirectAdjoint(),
    "backsolve": nj.BacksolveAdjoint(),
    "gauss": nj.GaussAdjoint(),
    "gauss replay": nj.GaussAdjoint(checkpoints=8),
    "reversible": nj.ReversibleAdjoint(anchor_every=4),
}
"""Every adjoint with a reverse mode."""
ADJOINTS = {**REVERSE, "forward": nj.ForwardMode()}
CONTINUOUS = ("backsolve", "gauss", "gauss replay")
"""Those whose gradient is that of the flow instead of the steps."""

TOLERANCES = {"float64": 1e-9, "float32": 1e-5}
MAX_STEPS = 128


class Driven(eqx.Module):
    """A damped, driven, cubic oscillator with an integer and an unused leaf."""

    rates: jax.Array
    power: jax.Array
    unused: jax.Array

    def __call__(self, t, y, args):
        push = args["push"] * jnp.sin(args["harmonic"] * t)
        return jnp.stack([y[1], -self.rates[0] * y[0] ** self.power - self.rates[1] * y[1] + push])


class Inputs(NamedTuple):
    """Everything that a solve can be differentiated for, and integers beside."""

    field: Any
    y0: Any
    ts: Any
    args: Any


TIMES = {
    "end": [0.0, 1.5],
    "no time": [1.0, 1.0],
    "one": [0.3],
    "many": np.linspace(0.0, 1.5, 8),
    "repeated": [0.0, 0.0, 0.4, 0.4, 0.4, 1.1, 1.5, 1.5],
    "backward": np.linspace(1.0, -0.5, 8),
}


def driven(times):
    """The driven oscillator at one entry of `TIMES`, in the precision of the moment."""
    field = Driven(jnp.array([2.0, 0.3]), jnp.array(3), jnp.array(1.0))
    args = {"push": jnp.array(0.7), "harmonic": jnp.array(3), "unused": jnp.ones(2), "name": None}
    return Inputs(field, jnp.array([1.0, -0.5]), jnp.asarray(TIMES[times], float), args)


def weigh(ys):
    """A loss that every output enters with a weight of its own."""
    leaves = [jnp.tanh(leaf) for leaf in jax.tree.leaves(ys)]
    return sum(
        jnp.sum(jnp.cos(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) * leaf) for leaf in leaves
    )


def solve(inputs, adjoint, rtol, solver=None):
    """The values at the times."""
    controller = nj.PIController(rtol=rtol, atol=rtol)
    return nj.odeint(*inputs, solver=solver or nj.Tsit5(), controller=controller, adjoint=adjoint, max_steps=MAX_STEPS)


def split(inputs):
    """The differentiable entries as one vector, the rest, and how to join them."""
    active, passive = eqx.partition(inputs, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(active)
    arrays, static = eqx.partition(passive, eqx.is_array)
    return flat, arrays, lambda flat, arrays: eqx.combine(unravel(flat), arrays, static)


def flat_loss(inputs, value):
    """`value` as a function of the vector and the arrays of `split`."""
    join = split(inputs)[2]
    return lambda flat, arrays: value(join(flat, arrays))


def single_gradient(name, times, precision, solver=None):
    """The compiled gradient as a function of the vector and the arrays of `split`, one for all times of one length."""
    return _single_gradient(name, len(TIMES[times]), precision, solver)


@functools.cache
def _single_gradient(name, num_times, precision, solver):
    times = next(key for key, ts in TIMES.items() if len(ts) == num_times)
    rtol = TOLERANCES[precision]
    loss = flat_loss(driven(times), lambda inputs: weigh(solve(inputs, ADJOINTS[name], rtol, solver).ys))
    return jax.jit(jax.jacfwd(loss) if name == "forward" else jax.grad(loss))


@functools.cache
def gradient(name, times, precision, solver=None):
    """The gradient for everything, as `Inputs` in NumPy, of `weigh` of the driven oscillator."""
    flat, arrays, join = split(driven(times))
    found = single_gradient(name, times, precision, solver)(flat, arrays)
    return jax.device_get(eqx.filter(join(found, arrays), eqx.is_inexact_array))


def central_differences(function, flat, *rest, h=1e-5):
    """The gradient of a compiled function of a vector, to about the square of `h`."""
    steps = h * np.eye(flat.size)
    return np.array([(function(flat + step, *rest) - function(flat - step, *rest)) / (2 * h) for step in steps])


def relative_difference(found, expected):
    """The largest difference of two gradients, relative to the largest entry of the second."""
    found, expected = ravel_pytree(found)[0], ravel_pytree(expected)[0]
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
