"""Equal steps with any solver, from the interface of `AbstractSolver` alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from node_jax.tree import tree_weighted_sum


class Walk(NamedTuple):
    """What `walk` leaves behind."""

    z: object
    """The internal state at the end."""
    ys: object
    """States: at the end of every step, or with `thetas` at these places of every step, step by step."""


def walk(solver, field, y0, t0, t1, num_steps, thetas=None):
    """`num_steps` steps from `t0` to `t1`; `field(t, y)`. Compiled as one loop."""
    thetas = None if thetas is None else jnp.asarray(thetas)
    dense = thetas is not None
    dt = jnp.asarray((t1 - t0) / num_steps)

    def one_step(carry, i):
        z, f = carry
        step = solver.step(field, t0 + i * dt, dt, z, f, dense=dense)
        if dense:
            values = jax.vmap(lambda theta: solver.interpolate(theta, dt, z, step))(thetas)
        else:
            values = solver.read(step.z1)
        return (step.z1, step.f1 if solver.is_fsal else None), values

    start = solver.start(y0)
    f0 = field(jnp.asarray(t0, dt.dtype), y0) if solver.is_fsal else None
    (z, _), ys = jax.jit(lambda carry: lax.scan(one_step, carry, jnp.arange(num_steps)))((start, f0))
    if dense:
        ys = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), ys)
    return Walk(z, ys)


def end_error(solver, problem, num_steps):
    """The error at the end of a problem of `tests.problems`."""
    end = walk(solver, _without_args(problem), jnp.array(problem.y0), 0.0, problem.t1, num_steps).ys[-1]
    return np.abs(np.asarray(end) - problem.exact(np.array(problem.t1))).max()


def path_error(solver, problem, num_steps):
    """The largest error at the ends of all steps, which no lucky cancellation at one time makes small."""
    ys = walk(solver, _without_args(problem), jnp.array(problem.y0), 0.0, problem.t1, num_steps).ys
    ts = np.arange(1, num_steps + 1) * problem.t1 / num_steps
    return np.abs(np.asarray(ys) - problem.exact(ts)).max()


def dense_error(solver, problem, num_steps, thetas=(0.15, 0.35, 0.5, 0.8)):
    """The largest error of the dense output at the places `thetas` of every step."""
    ys = walk(solver, _without_args(problem), jnp.array(problem.y0), 0.0, problem.t1, num_steps, thetas).ys
    ts = (np.arange(num_steps)[:, None] + np.asarray(thetas)).ravel() * problem.t1 / num_steps
    return np.abs(np.asarray(ys) - problem.exact(ts)).max()


def estimated_order(errors, steps):
    """The order that the errors at these numbers of steps show."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def largest_difference(x, y):
    """The largest element of |x - y| over all leaves."""
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree_weighted_sum((1.0, -1.0), (x, y))))


def _without_args(problem):
    return lambda t, y: problem.field(t, y, None)
