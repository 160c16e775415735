"""Generated initial value problems, hostile ones among them, whose fields are data: one compilation runs them all.

A problem is a row of every array in a `Corpus`. Its field is a polynomial p of degree 3 in the scaled variables
u = y / y_scale and s = (t - t_origin) / t_scale, disturbed as its `kind` says:

    dy/dt = (y_scale / t_scale) disturb(p(u), s, u).

States have `DIM` components, of which a problem uses one to four; those beyond have derivative zero. The last is a
clock, at (t - t0) clock_rate, in half of the problems; it tells at what time a row was really taken.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

DIM = 5
"""Components of a state, the clock included."""

NUM_TIMES = 9

_FACTORS = np.array([(i, j, k) for i in range(DIM) for j in range(i, DIM) for k in range(j, DIM)], np.int32)
"""The monomials of degree up to 3 as triples of indices into (1, u_1, ..., u_4)."""

KINDS = (
    "smooth",
    "forced",
    "jump in time",
    "jump in state",
    "NaN in time",
    "NaN in state",
    "infinite in time",
    "infinite in state",
    "pole in time",
    "pole in state",
    "stiff",
)


class Corpus(NamedTuple):
    """Problems, one a row; an array of one row is one problem."""

    kind: np.ndarray
    coefficients: np.ndarray
    """Of the monomials, of shape (problem, DIM - 1, monomial)."""
    amplitude: np.ndarray
    place: np.ndarray
    """Where in s, or in u, the disturbance stands."""
    frequency: np.ndarray
    y_scale: np.ndarray
    t_scale: np.ndarray
    t_origin: np.ndarray
    clock_rate: np.ndarray
    y0: np.ndarray
    ts: np.ndarray
    dt: np.ndarray
    """A step size for those who want one: between a thousandth of the interval and all of it."""


def field(t, y, args):
    """dy/dt of the problem `args`."""
    u, s = y[:-1] / args.y_scale, (t - args.t_origin) / args.t_scale
    factors = jnp.concatenate([jnp.ones((1,), u.dtype), u])[_FACTORS]
    monomials = factors[:, 0] * factors[:, 1] * factors[:, 2]
    # A monomial that a problem does not have must not give 0 * inf.
    terms = jnp.where(args.coefficients == 0, 0, args.coefficients * monomials)
    p = jnp.sum(terms, axis=1)
    a, x, w = args.amplitude, args.place, args.frequency
    branches = (
        lambda: p,
        lambda: p + a * jnp.cos(w * s),
        lambda: jnp.where(s < x, p, a - p),
        lambda: p - a * jnp.sign(u[0] - x),
        lambda: jnp.where((s > x) & (s < x + 1 / w), jnp.nan, p),
        lambda: jnp.sqrt(1 + abs(x) - u[0]) * p,
        lambda: jnp.where(s > x, jnp.inf, p),
        lambda: jnp.where(u[0] > x + 1, jnp.inf, p),
        lambda: p + a / (s - x),
        lambda: p + a / (u[0] - x),
        lambda: p - w**3 * (u - jnp.cos(s)),
    )
    used = jnp.any(args.coefficients != 0, axis=1)
    dy = jnp.where(used, args.y_scale / args.t_scale * lax.switch(args.kind, branches), 0)
    return jnp.append(dy, args.clock_rate)


def generate(num_problems, seed, dtype):
    """`num_problems` problems: two thirds of scales near 1, the rest of scales and coefficients anywhere."""
    rng = np.random.default_rng(seed)
    n = num_problems

    def decades(low, high, shape=(n,)):
        return 10 ** rng.uniform(low, high, shape)

    is_wild = rng.random(n) < 1 / 3
    has_wild_coefficients = is_wild & (rng.random(n) < 0.3)
    y_scale = np.where(is_wild, decades(-30, 30), 1)
    t_scale = np.where(is_wild, decades(-20, 20), 1)

    dims = rng.integers(1, DIM, n)
    is_there = rng.random((n, DIM - 1, len(_FACTORS))) < decades(-1, 0)[:, None, None]
    # Component i uses the variables up to `dims`, no others: index 0 stands for the factor 1.
    is_there &= (_FACTORS.max(axis=1) <= dims[:, None])[:, None, :]
    is_there[:, :, 0] = True
    is_there &= (np.arange(DIM - 1) < dims[:, None])[:, :, None]
    sizes = np.where(has_wild_coefficients[:, None, None], decades(-30, 30, is_there.shape), 1)
    coefficients = np.where(is_there, sizes * rng.normal(size=is_there.shape), 0)

    y0 = np.zeros((n, DIM))
    y0[:, :-1] = rng.normal(size=(n, DIM - 1)) * (np.arange(DIM - 1) < dims[:, None]) * y_scale[:, None]
    y0[rng.random(n) < 0.05] = 0

    length = t_scale * np.where(rng.random(n) < 0.8, decades(-1, 0.5), decades(-3, 3))
    length[rng.random(n) < 0.03] = 0
    places = np.sort(rng.random((n, NUM_TIMES)), axis=1)
    places[:, 0], places[:, -1] = 0, 1
    repeats = rng.random((n, NUM_TIMES)) < np.where(rng.random(n) < 0.3, 0.4, 0.0)[:, None]
    for i in range(1, NUM_TIMES):
        places[:, i] = np.where(repeats[:, i], places[:, i - 1], places[:, i])
    far = decades(-1, 9) * t_scale
    t0 = rng.choice([-1, 0, 1], n) * np.where(rng.random(n) < 0.3, far, t_scale)
    ts = t0[:, None] + rng.choice([-1, 1], n)[:, None] * length[:, None] * places
    length = abs(ts[:, -1] - ts[:, 0])
    has_clock = (rng.random(n) < 0.5) & (length > 0)

    corpus = Corpus(
        kind=rng.integers(len(KINDS), size=n),
        coefficients=coefficients,
        amplitude=rng.normal(size=n) * decades(-2, 1),
        place=rng.normal(size=n),
        frequency=decades(-1, 2),
        y_scale=y_scale,
        t_scale=t_scale,
        t_origin=t0,
        clock_rate=np.where(has_clock, 1 / np.where(length > 0, length, 1), 0),
        y0=y0,
        ts=ts,
        dt=np.where(length > 0, length, 1) * decades(-3, 0),
    )
    return Corpus(*(np.asarray(x, np.int32 if x.dtype.kind == "i" else dtype) for x in corpus))


def take(corpus, index):
    """The problems at `index`."""
    return jax.tree.map(lambda x: x[index], corpus)
