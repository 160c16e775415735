"""What the tests of batches share: settings, a batch of oscillators, and its solves together and one by one."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

import node_jax as nj

BATCH = 7
PI = nj.PIController(rtol=1e-7, atol=1e-7)
SETTINGS = {
    "Tsit5": (nj.Tsit5(), PI),
    "Bosh3": (nj.Bosh3(), nj.PIController(rtol=1e-4, atol=1e-4)),
    "Dopri5 bounded": (nj.Dopri5(), nj.PIController(rtol=1e-5, atol=1e-5, dtmax=0.2, dt0=0.05)),
    "Dopri8": (nj.Dopri8(), PI),
    "RK4 constant": (nj.RK4(), nj.ConstantStep(0.07)),
    "Midpoint fixed": (nj.Midpoint(), nj.FixedSteps(3)),
    "jumps": (nj.Tsit5(), nj.PIController(rtol=1e-6, atol=1e-6, jump_ts=[0.3, 0.31, 1.0])),
    "ReversibleHeun": (nj.ReversibleHeun(), nj.ConstantStep(0.05)),
    "Reversible": (nj.Reversible(nj.Bosh3()), nj.PIController(rtol=1e-4, atol=1e-4)),
    "StormerVerlet": (nj.StormerVerlet(), nj.ConstantStep(0.05)),
}


OTHERS = [name for name in SETTINGS if name != "Tsit5"]


class Oscillators(eqx.Module):
    """Van der Pol's, or for a pair (q, p) a pendulum, with a shared stiffness and damping of its own."""

    stiffness: Any

    def __call__(self, t, y, args):
        push = 0.1 * jnp.sin(3 * t) * args["push"]
        if isinstance(y, tuple):
            return y[1], -self.stiffness * jnp.sin(y[0]) + push
        return jnp.stack([y[1], args["damping"] * (1 - y[0] ** 2) * y[1] - self.stiffness * y[0] + push])


class Inputs(NamedTuple):
    field: Any
    y0s: Any
    ts: Any
    args: Any


IN_AXES = (0, None, {"damping": 0, "push": None})


def inputs(num_times=6, is_ragged=False, is_pair=False):
    y0s = jnp.stack([jnp.linspace(0.5, 2.0, BATCH), jnp.linspace(-1.0, 1.0, BATCH)], 1)
    if is_pair:
        y0s = (y0s[:, 0], y0s[:, 1])
    ts = jnp.linspace(0.0, 2.0, num_times)
    if is_ragged:
        # Ends of their own, padding, and two rows that go back in time.
        ends = jnp.linspace(0.2, 2.5, BATCH)[:, None]
        ts = jnp.minimum(jnp.linspace(0.0, 3.0, num_times)[None], ends)
        ts = ts.at[2:4].set(ts[2:4, ::-1])
    args = {"damping": jnp.geomspace(0.1, 20.0, BATCH), "push": jnp.asarray(1.0)}
    return Inputs(Oscillators(jnp.asarray(1.3)), y0s, ts, args)


def axes_of(x):
    return (0, 0 if x.ts.ndim == 2 else None, IN_AXES[2])


def solve_batch(x, lanes=None, **keywords):
    return nj.odeint_batch(x.field, x.y0s, x.ts, x.args, in_axes=axes_of(x), lanes=lanes, **keywords)


def solve_each(x, **keywords):
    return jax.vmap(lambda y0, ts, args: nj.odeint(x.field, y0, ts, args, **keywords), axes_of(x))(*x[1:])


def keywords_of(name):
    solver, controller = SETTINGS[name]
    return {"solver": solver, "controller": controller, "max_steps": 512}
