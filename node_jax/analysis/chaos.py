"""How far a model of a chaotic system can be trusted: its largest exponent, and the time its forecasts hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from node_jax.integrate import Integrator
from node_jax.types import VectorField


def lyapunov_exponents(
    field: VectorField,
    y0s: Float[Array, "batch dim"],
    integrator: Integrator,
    *,
    interval: float,
    num_intervals: int,
    num_skipped: int = 0,
) -> Float[Array, " batch"]:
    r"""The largest Lyapunov exponent along solutions of dy/dt = field(t, y), in 1/time: Benettin's method.

        λ = 1/(n Δ) Σ_k log ‖v(t_k + Δ)‖,   dv/dt = (∂f/∂y) v,   ‖v(t_k)‖ = 1.

    State and tangent are solved together, the tangent's slope by `jax.jvp` of the field, and the tangent is normalized
    after each interval.

    Arguments:
        field: that of one state of shape (dim,); its `args` are None.
        y0s: states to start from, at time 0. The exponents of many short solutions scatter, their mean less so.
        integrator: how they are solved.
        interval: Δ, short beside 1/λ times a few, so that the tangent neither overflows nor loses its direction.
        num_intervals: n.
        num_skipped: intervals before them that do not count: the state reaches its attractor, the tangent its
            direction.

    Returns:
        One exponent for each start; NaN where a solve failed.

    Reference: Benettin, Galgani, Giorgilli & Strelcyn (1980), doi:10.1007/BF02128236.
    """

    def both(t: Any, z: Any, args: Any) -> Any:
        y, v = z
        slope, change = jax.jvp(lambda y: jnp.asarray(field(t, y, args)), (y,), (v,))
        return slope, change

    def advance(carry: Any, k: Array) -> tuple[Any, Array]:
        ys = jax.vmap(lambda z: integrator(both, z, interval * (k + jnp.arange(2.0))).ys)(carry)
        y, v = jax.tree.map(lambda leaf: leaf[:, -1], ys)
        length = jnp.linalg.norm(v, axis=-1, keepdims=True)
        return (y, v / length), jnp.log(length[:, 0])

    y0s = jnp.asarray(y0s)
    start = (y0s, jnp.full_like(y0s, y0s.shape[-1] ** -0.5))
    _, growth = lax.scan(advance, start, jnp.arange(num_skipped + num_intervals))
    return jnp.mean(growth[num_skipped:], axis=0) / interval


def valid_times(
    predicted: np.ndarray, truth: np.ndarray, times: np.ndarray, scale: Any, threshold: float = 0.4
) -> np.ndarray:
    r"""For how long forecasts hold: the first time of √(mean over dim ((predicted - truth) / scale)²) > threshold.

    Arguments:
        predicted, truth: shape (series, time, dim). NaN in a forecast ends it.
        times: shape (time,), since the start of the forecasts.
        scale: shape (dim,) or a number: the standard deviation of each quantity (Vlachas et al. 2020), or the root mean
            square of all, which is the larger for quantities that are not centred (Pathak et al. 2018).
        threshold: 0.4 in Pathak et al. (2018).

    Returns:
        Shape (series,), in units of `times`; the last time for a forecast that held until then.

    References: Pathak et al. (2018), doi:10.1063/1.5028373; Vlachas et al. (2020), doi:10.1016/j.neunet.2020.02.016.
    """
    errors = np.sqrt(np.mean(((predicted - truth) / scale) ** 2, axis=-1))
    has_ended = ~(errors <= threshold)
    first = np.where(has_ended.any(axis=1), has_ended.argmax(axis=1), len(times) - 1)
    return np.asarray(times)[first]
