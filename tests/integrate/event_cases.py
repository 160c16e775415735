"""What the tests of events share: a bouncing ball and doses that decay, with their closed forms."""

import jax.numpy as jnp

import node_jax as nj

GRAVITY = 9.81
TIGHT = nj.PIController(rtol=1e-9, atol=1e-9)
FINE = {"solver": nj.RK4(), "controller": nj.ConstantStep(0.02), "max_steps": 256}
"""Small programs, and errors of less than 1e-8."""
BALL = {"solver": nj.Midpoint(), "controller": nj.ConstantStep(0.05), "max_steps": 64}
"""The same for the ball, which has no error under any method of second order."""


def fall(t, y, args):
    """(height, velocity) of a ball."""
    return jnp.stack([y[1], jnp.full_like(y[1], -GRAVITY)])


def height(t, y, args):
    return y[0]


def rebound(t, y, restitution):
    return jnp.stack([jnp.zeros_like(y[0]), -restitution * y[1]])


def bounce(max_events=4):
    return nj.Event(height, direction=-1, terminate=False, jump=rebound, max_events=max_events)


def drop(heights):
    """The state of a ball that is let go."""
    return jnp.stack([jnp.asarray(heights), jnp.zeros_like(heights)], axis=-1)


def bounce_times(drop_height, restitution, num):
    """When a ball that is let go at time zero hits the ground."""
    first = jnp.sqrt(2 * drop_height / GRAVITY)
    flights = 2 * first * restitution ** jnp.arange(1, num)
    return first + jnp.concatenate([jnp.zeros(1), jnp.cumsum(flights)])


def bounced(drop_height, restitution, ts, num):
    """The states of a ball at `ts`, in the course of `num` bounces."""
    times = bounce_times(drop_height, restitution, num)
    count = jnp.sum(times[None] < ts[:, None], axis=1)
    speed = restitution**count * jnp.sqrt(2 * GRAVITY * drop_height)
    after = ts - times[jnp.maximum(count - 1, 0)]
    is_first = count == 0
    heights = jnp.where(is_first, drop_height - GRAVITY * ts**2 / 2, speed * after - GRAVITY * after**2 / 2)
    return jnp.stack([heights, jnp.where(is_first, -GRAVITY * ts, speed - GRAVITY * after)], axis=-1)


def before_bounces(drop_height, restitution, num):
    """The states in which a ball hits the ground."""
    speeds = -jnp.sqrt(2 * GRAVITY * drop_height) * restitution ** jnp.arange(num)
    return jnp.stack([jnp.zeros(num), speeds], axis=-1)


def clear(t, y, args):
    """A dose decays at a rate that changes with time."""
    return -args["rate"] * (1 + jnp.cos(t)) * y


def dose(t, y, args):
    return y + args["amount"] * (2 + jnp.sin(t))


def concentration(y0, ts, args, times):
    """What is left at `ts` of y0 and of doses at `times`; a dose at one of `ts` is not yet in."""

    def left(since):
        passed = ts + jnp.sin(ts) - since - jnp.sin(since)
        return jnp.exp(-args["rate"] * passed)

    direction = jnp.where(ts[-1] < ts[0], -1, 1)
    total = y0 * left(ts[0])
    for time in times:
        # A time that is infinite must not bring NaN into a gradient.
        safe = jnp.where(jnp.isfinite(time), time, ts[0])
        acts = (safe * direction < ts * direction) & (safe * direction >= ts[0] * direction) & jnp.isfinite(time)
        total = total + jnp.where(acts, args["amount"] * (2 + jnp.sin(safe)) * left(safe), 0.0)
    return total
