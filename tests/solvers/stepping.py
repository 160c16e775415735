"""Equal steps with any solver, from the interface of `AbstractSolver` alone."""

from functools import cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from node_jax.interpolate.dense import DensePath
from node_jax.tree import tree_weighted_sum


class Walk(NamedTuple):
    """What `walk` leaves behind."""

    z: object
    """The internal state at the end."""
    ys: object
    """States: at the end of every step, or with `thetas` at these places of every step, step by step."""


def walk(solver, field, y0, t0, t1, num_steps, thetas=None):
    """`num_steps` steps from `t0` to `t1`; `field(t, y)`. One program for all numbers of steps up to 128."""
    places = None if thetas is None else jnp.asarray(thetas)
    t0, dt = jnp.asarray(t0, float), jnp.asarray((t1 - t0) / num_steps)
    z, ys = _walk(solver, field, y0, t0, dt, jnp.asarray(num_steps), places, max(num_steps, 128))
    ys = jax.tree.map(lambda leaf: leaf[:num_steps], ys)
    if thetas is not None:
        ys = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), ys)
    return Walk(z, ys)


@eqx.filter_jit
def _walk(solver, field, y0, t0, dt, num_steps, thetas, capacity):
    """The internal state after `num_steps` steps, and a row of values for each in a buffer of `capacity` rows."""

    def one_step(i, carry):
        z, f, ys = carry
        step = solver.step(field, t0 + i * dt, dt, z, f, dense=thetas is not None)
        if thetas is None:
            values = solver.read(step.z1)
        else:
            values = jax.vmap(lambda theta: interpolate(solver, theta, dt, z, step))(thetas)
        ys = jax.tree.map(lambda rows, row: rows.at[i].set(row), ys, values)
        return step.z1, step.f1 if solver.is_fsal else None, ys

    shape = (capacity,) if thetas is None else (capacity, thetas.shape[0])
    ys = jax.tree.map(lambda leaf: jnp.zeros((*shape, *leaf.shape), leaf.dtype), y0)
    f0 = field(t0, y0) if solver.is_fsal else None
    z, _, ys = lax.fori_loop(0, num_steps, one_step, (solver.start(y0), f0, ys))
    return z, ys


def dense_path(solver, dt, z0, step):
    """The dense output of one step as a path from 0 to dt."""
    y0, y1 = solver.read(z0), solver.read(step.z1)
    coefficients = solver.coefficients(dt, step.stages)
    start = jax.tree.map(lambda y: jnp.stack([y] + [jnp.zeros_like(y)] * len(coefficients)), y0)
    end = jax.tree.map(lambda *leaves: jnp.stack(leaves), y1, *coefficients)
    nodes = jax.tree.map(lambda a, b: jnp.stack([a, b]), start, end)
    return DensePath(jnp.stack([jnp.zeros_like(dt), dt]), nodes, len(coefficients))


def interpolate(solver, theta, dt, z0, step):
    """y at the place theta of a finished step."""
    path = dense_path(solver, dt, z0, step)
    return jax.tree.map(lambda leaf: leaf[0], path.evaluate((theta * dt)[None], jnp.sign(dt)))


def interpolate_derivative(solver, theta, dt, z0, step):
    """dy/dt there."""
    path = dense_path(solver, dt, z0, step)
    return jax.tree.map(lambda leaf: leaf[0], path.derivative((theta * dt)[None], jnp.sign(dt)))


def end_error(solver, problem, num_steps):
    """The error at the end of a problem of `tests.problems`."""
    end = walk(solver, _without_args(problem.field), jnp.array(problem.y0), 0.0, problem.t1, num_steps).ys[-1]
    return np.abs(np.asarray(end) - problem.exact(np.array(problem.t1))).max()


def path_error(solver, problem, num_steps):
    """The largest error at the ends of all steps, which no lucky cancellation at one time makes small."""
    ys = walk(solver, _without_args(problem.field), jnp.array(problem.y0), 0.0, problem.t1, num_steps).ys
    ts = np.arange(1, num_steps + 1) * problem.t1 / num_steps
    return np.abs(np.asarray(ys) - problem.exact(ts)).max()


def dense_error(solver, problem, num_steps, thetas=(0.15, 0.35, 0.5, 0.8)):
    """The largest error of the dense output at the places `thetas` of every step."""
    ys = walk(solver, _without_args(problem.field), jnp.array(problem.y0), 0.0, problem.t1, num_steps, thetas).ys
    ts = (np.arange(num_steps)[:, None] + np.asarray(thetas)).ravel() * problem.t1 / num_steps
    return np.abs(np.asarray(ys) - problem.exact(ts)).max()


def estimated_order(errors, steps):
    """The order that the errors at these numbers of steps show."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def largest_difference(x, y):
    """The largest element of |x - y| over all leaves."""
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree_weighted_sum((1.0, -1.0), (x, y))))


@cache
def _without_args(field):
    # Cached, for a function made anew would be compiled anew.
    return lambda t, y: field(t, y, None)
