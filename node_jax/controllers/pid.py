"""Adaptive step sizes: the PID family and Hairer's first step."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from node_jax.controllers.base import (
    AbstractController,
    Decision,
    direction_of,
    ends_of,
    require_finite,
    require_positive,
    require_scalar,
)
from node_jax.kernels import one_kernel
from node_jax.tree import (
    rms_norm,
    safe_sqrt,
    scaled_norm,
    tree_all_finite,
    tree_axpy,
    tree_bytes,
    tree_nan_with,
    tree_size,
    tree_spread,
    tree_vdot,
    tree_weighted_sum,
    tree_where,
)
from node_jax.types import State, Time

_SMALLEST_ERROR = 1e-9
"""Scaled errors below this count as this: any smaller one grows dt by factor_max all the same."""
_SMALLEST_REMEMBERED = 1e-4
"""The step after a much too small one must not be held back by it; the bound of Hairer's code DOPRI5."""


class PIController(AbstractController):
    r"""Adapts dt so that the estimated local error stays near the tolerance.

    With the scaled error  e_n = ‖error / (atol + rtol max(|y0|, |y1|))‖  a step is accepted if e_n <= 1, and then

        dt_{n+1} = dt_n clip(safety e_n^{-(p+i+d)/k} e_{n-1}^{(p+2d)/k} e_{n-2}^{-d/k}, factor_min, factor_max),

    where k is the solver's order. After a rejected step the plain rule safety e_n^{-1/k}, at most 1, is used, and an
    attempt that is not finite shrinks by factor_min. The default coefficients (p = 0.4, i = 0.3) give exponents
    0.7/k and -0.4/k, the PI controller of Hairer & Wanner (1996), IV.2.

    Arguments:
        rtol, atol: relative and absolute tolerance of the local error; atol in units of the state. Numbers, or trees
            that are a prefix of the state's structure: one tolerance a leaf or a subtree.
        pcoeff, icoeff, dcoeff: proportional, integral and derivative coefficient p, i, d. `None` is d = 0, for which
            nothing is remembered and computed.
        safety: aim at this fraction of the tolerated step.
        factor_min, factor_max: bounds of the change of dt in one step.
        dtmin, dtmax: bounds of |dt| in units of time. Where a step of dtmin is rejected the solve ends with status
            `dt_underflow`. A step that must end at a stop or at the last time may be shorter.
        dt0: size of the first attempt; `None` finds one by Hairer, Norsett & Wanner (1993), II.4, at one evaluation.
        jump_ts: times at which the field is discontinuous, in any order. A step ends at each; the field is evaluated on
            the proper side of it, by a time that differs from it in the last bit. Costs one evaluation more a step.
        norm: norm of the scaled error over the state; the root mean square by default.

    Reference: Söderlind (2002), Numerical Algorithms 31, 281-310, doi:10.1023/A:1021160023092.
    """

    rtol: Any = 1e-4
    atol: Any = 1e-6
    pcoeff: float | Float[Array, ""] = 0.4
    icoeff: float | Float[Array, ""] = 0.3
    dcoeff: float | Float[Array, ""] | None = None
    safety: float | Float[Array, ""] = 0.9
    factor_min: float | Float[Array, ""] = 0.2
    factor_max: float | Float[Array, ""] = 10.0
    dtmin: float | Float[Array, ""] | None = None
    dtmax: float | Float[Array, ""] | None = None
    dt0: float | Float[Array, ""] | None = None
    jump_ts: Any = None
    norm: Callable[[Any], Array] = eqx.field(default=rms_norm, static=True)

    @property
    def is_adaptive(self) -> bool:
        """True: it needs the solver's error estimate."""
        return True

    @property
    def num_evals_first_step(self) -> int:
        """One, unless `dt0` is given."""
        return 1 if self.dt0 is None else 0

    def validate(self) -> None:
        """Positive tolerances and bounds that leave room to change dt."""
        owner = "PIController"
        require_positive(owner, "rtol", self.rtol, "usual values lie between 1e-3 and 1e-8")
        require_positive(owner, "atol", self.atol, "usual values are a hundredth of rtol times the state's size")
        for name in ("dtmin", "dtmax", "dt0"):
            value = getattr(self, name)
            if value is not None:
                require_positive(owner, name, value, "step sizes are positive; the sign follows the order of ts")
        if self.jump_ts is not None:
            require_finite(owner, "jump_ts", self.jump_ts)
        require_positive(owner, "factor_min", self.factor_min, "dt shrinks at most by it, 0.2 is usual")
        require_positive(owner, "safety", self.safety, "0.9 is usual")
        if not callable(self.norm):
            raise TypeError(f"{owner}: expected norm to be callable as norm(scaled_error), got {self.norm!r}.")
        scalars = "pcoeff", "icoeff", "dcoeff", "safety", "factor_min", "factor_max", "dtmin", "dtmax", "dt0"
        for name in scalars:
            if getattr(self, name) is not None:
                require_scalar(owner, name, getattr(self, name))
        bounds: tuple[Any, Any] = (self.dtmin, self.dtmax)
        if _are_known(*bounds) and bounds[0] > bounds[1]:
            raise ValueError(f"{owner}: expected dtmin <= dtmax, got {self.dtmin} and {self.dtmax}.")
        factors = (self.factor_min, self.factor_max)
        if _are_known(*factors) and not factors[0] < 1 < factors[1]:
            raise ValueError(
                f"{owner}: expected factor_min < 1 < factor_max, got {factors[0]} and {factors[1]}; "
                "otherwise dt can never shrink or never grow."
            )

    def check_state(self, y0: State) -> None:
        """Tolerances that are trees must be a prefix of the state's structure, those that are arrays must broadcast."""
        for name in ("rtol", "atol"):
            tolerance = getattr(self, name)
            try:
                spread = tree_spread(tolerance, y0)
            except ValueError as error:
                raise ValueError(
                    f"PIController: expected {name} to be a number or a tree with one for each part of the state, got "
                    f"{jax.tree.structure(tolerance)} for a state {jax.tree.structure(y0)}."
                ) from error
            for value, leaf in zip(jax.tree.leaves(spread), jax.tree.leaves(y0), strict=True):
                if not _broadcasts_to(jnp.shape(value), jnp.shape(leaf)):
                    raise ValueError(
                        f"PIController: expected {name} to broadcast against the state, got shape {jnp.shape(value)} "
                        f"for a part of shape {jnp.shape(leaf)}."
                    )

    @property
    def has_jumps(self) -> bool:
        """Whether `jump_ts` holds a time."""
        return any(np.size(leaf) for leaf in jax.tree.leaves(self.jump_ts))

    def stops(self, ts: Float[Array, " time"]) -> Float[Array, " stop"] | None:
        """`jump_ts`, sorted in the direction of the solve."""
        if not self.has_jumps:
            return None
        direction = direction_of(ts)
        return jnp.sort(jnp.asarray(self.jump_ts, ts.dtype).reshape(-1) * direction) * direction

    def first_step(
        self, field: Callable[[Time, State], State], ts: Float[Array, " time"], y0: State, f0: State, order: int
    ) -> tuple[Time, tuple[Array, ...]]:
        """`dt0`, or Hairer's choice: a step after which y has moved by about a hundredth of the tolerance^(1/order)."""
        is_given = self.dt0 is not None
        dt = jnp.asarray(self.dt0, ts.dtype) if is_given else self._search_first_step(field, ts, y0, f0, order)

        @one_kernel()
        def adjust(dt: Time) -> Time:
            t0, t1 = ends_of(ts)
            # Far from zero, a step below the spacing of floating-point times would not move.
            spacing = jnp.finfo(t0.dtype).eps * jnp.maximum(abs(t0), abs(t1))
            dt = jnp.minimum(jnp.maximum(dt, 4 * spacing), abs(t1 - t0)).astype(t0.dtype)
            return direction_of(ts) * self._bounded(dt)

        zero = jnp.zeros((), ts.dtype)
        return adjust(dt), (zero, zero) if self.dcoeff is None else (zero, zero, zero)

    def _search_first_step(
        self,
        field: Callable[[Time, State], State],
        ts: Float[Array, " time"],
        y0: State,
        f0: State,
        order: int,
    ) -> Time:
        """Hairer, Norsett & Wanner (1993), II.4, the algorithm behind eq. 4.14."""
        (t0, t1), direction = ends_of(ts), direction_of(ts)

        def size(x: State) -> Time:
            return scaled_norm(x, y0, y0, self.rtol, self.atol, self.norm).astype(ts.dtype)

        d0, d1 = size(y0), size(f0)
        is_small = (d0 < 1e-5) | (d1 < 1e-5)
        # The book's 1e-6 supposes times near 1; on a long interval it would take dozens of steps to grow from there.
        span = abs(t1 - t0)
        trial = jnp.where(is_small, 1e-6 * jnp.maximum(span, 1.0), 0.01 * d0 / jnp.where(is_small, 1.0, d1))
        trial = jnp.minimum(trial, span)
        f_trial = field(t0 + direction * trial, tree_axpy(direction * trial, f0, y0))
        change = tree_weighted_sum((1.0, -1.0), (f_trial, f0))
        assert change is not None
        d2 = size(change) / jnp.where(trial > 0, trial, 1.0)
        largest = jnp.maximum(d1, d2)
        is_flat = ~(largest > 1e-15)
        explicit = (0.01 / jnp.where(is_flat, 1.0, largest)) ** (1 / order)
        proposal = jnp.where(is_flat, trial, explicit)
        proposal = jnp.where(is_small, jnp.maximum(proposal, trial), proposal)
        dt = jnp.minimum(100 * trial, proposal)
        return jnp.where(jnp.isfinite(dt) & (dt > 0), dt, jnp.where(trial > 0, trial, 1e-6))

    def _bounded(self, dt: Time) -> Time:
        if self.dtmax is not None:
            dt = jnp.minimum(dt, jnp.asarray(self.dtmax, dt.dtype))
        return dt if self.dtmin is None else jnp.maximum(dt, jnp.asarray(self.dtmin, dt.dtype))

    def decide(
        self,
        memory: tuple[Array, ...],
        ts: Float[Array, " time"],
        t1: Time,
        dt: Time,
        y0: State,
        y1: State,
        error: State | None,
        order: int,
    ) -> Decision:
        """Accept if the scaled error is at most 1; see the formula above.

        The memory holds 1 if the last attempt was rejected, else 0; and log(error)/order of the last accepted step, and
        of the one before it if there is a derivative coefficient. All are zero at first, one constant for all.
        """
        del ts, t1
        is_rms = self.norm is rms_norm
        # Of the mean of squares only the sum, which is a kernel of its own; the rest is a part of another.
        measure = (lambda x: tree_vdot(x, x)) if is_rms else self.norm
        size = scaled_norm(tree_nan_with(error, y1), y0, y1, self.rtol, self.atol, measure)
        if not is_rms:
            # It may leave out parts of the state.
            size = jnp.where(tree_all_finite(y1), size, jnp.nan)

        @one_kernel(tree_bytes(y0))
        def respond(memory: tuple[Array, ...], dt: Time, size: Array) -> tuple[Any, ...]:
            ratio = safe_sqrt(size / max(1, tree_size(error))) if is_rms else size
            error_ratio = lax.stop_gradient(ratio.astype(dt.dtype))
            return *self._respond(memory, dt, error_ratio, order), error_ratio

        accept, next_dt, memory, error_ratio = respond(memory, dt, size)
        is_stuck = jnp.asarray(False)
        if self.dtmin is not None:
            is_stuck = ~accept & (abs(dt) <= 1.001 * jnp.asarray(self.dtmin, dt.dtype))
        return Decision(accept, lax.stop_gradient(next_dt), memory, error_ratio, is_stuck)

    def _respond(
        self, memory: tuple[Array, ...], dt: Time, error_ratio: Float[Array, ""], order: int
    ) -> tuple[Bool[Array, ""], Time, tuple[Array, ...]]:
        """Whether to accept, the next step, and the memory."""
        was_rejected, log_previous, *log_before_previous = memory
        accept = error_ratio <= 1
        # An error of exactly zero (a field that is constant) must not divide by zero: it grows by factor_max. NaN is an
        # error without bound: dt shrinks by factor_min.
        one, infinity = np.ones((), dt.dtype), np.full((), np.inf, dt.dtype)
        size = jnp.maximum(lax.select(jnp.isnan(error_ratio), infinity, error_ratio), _SMALLEST_ERROR)
        # One logarithm for all powers, and for all attempts that it matters to.
        log_size = jnp.log(size) / order
        change = log_previous - log_size
        log_factor = self.pcoeff * change - self.icoeff * log_size
        if self.dcoeff is not None:
            log_factor = log_factor + self.dcoeff * (change + log_previous - log_before_previous[0])
        largest = lax.select(was_rejected > 0, one, jnp.asarray(self.factor_max, dt.dtype))
        growth = jnp.minimum(jnp.maximum(self.safety * jnp.exp(log_factor), self.factor_min), largest)
        shrink = jnp.minimum(jnp.maximum(self.safety * jnp.exp(-log_size), self.factor_min), 1.0)
        next_dt = dt * tree_where(accept, growth, shrink)
        if self.dtmin is not None or self.dtmax is not None:
            next_dt = jnp.copysign(self._bounded(abs(next_dt)), dt)
        remembered = jnp.maximum(log_size, math.log(_SMALLEST_REMEMBERED) / order)
        zero = np.zeros((), dt.dtype)
        logs = (log_previous, *log_before_previous)
        return accept, next_dt, tree_where(accept, (zero, remembered, *logs[:-1]), (one, *logs))


def _are_known(*values: Any) -> bool:
    """Whether all numbers are given, and none is traced."""
    return not any(value is None or isinstance(value, Tracer) for value in values)


def _broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of `shape` meets one of shape `target` without making it larger."""
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
