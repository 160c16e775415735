"""What a solve returns."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from node_jax.interpolate.dense import DensePath
from node_jax.types import State


class Stats(eqx.Module):
    """What a solve cost, counted per trajectory."""

    num_evals: Int[Array, "..."]
    """Field evaluations, first-step search included; -1 where a foreign solver does not say."""
    num_accepted: Int[Array, "..."]
    """Accepted steps."""
    num_rejected: Int[Array, "..."]
    """Rejected steps."""
    num_executed: Int[Array, "..."] | None = None
    """Of a batched solve: steps that were attempted in all lanes together, those of idle lanes included, and of devices
    that wait for the last."""

    @property
    def batch_efficiency(self) -> Float[Array, "..."]:
        """Of a batched solve: the share of executed steps that some trajectory needed, between 0 and 1."""
        if self.num_executed is None:
            raise ValueError("Stats.batch_efficiency: expected the statistics of nj.odeint_batch, got one solve's.")
        needed = jnp.sum(self.num_accepted + self.num_rejected, axis=-1)
        return jnp.where(self.num_executed > 0, needed / jnp.maximum(self.num_executed, 1), 1.0)


class Steps(eqx.Module):
    """The accepted steps of a solve, one a row; rows beyond the last step are NaN. No gradient flows through it."""

    t: Float[Array, "... step"]
    """Time at the start of each step."""
    dt: Float[Array, "... step"]
    """Its signed size."""
    error_ratio: Float[Array, "... step"]
    """Its estimated error in units of the tolerance, at most 1; 0 where the controller looks at no error."""


class Solution(eqx.Module):
    """The values of a solve at the requested times, and how it went.

    Inside compiled code nothing raises; look at `status`, or call `nj.check(solution)` on the host.
    """

    ts: Float[Array, "... time"]
    """The requested times; `ts[0]` is the initial time."""
    ys: Any
    """`ys[i]` is y(ts[i]), or what `save` made of it: each leaf has a leading time axis. Rows that were not reached are
    NaN."""
    status: Int[Array, "..."]
    """An `nj.Status` as int32."""
    stats: Stats
    """Field evaluations, accepted and rejected steps."""
    costs: dict[str, Float[Array, "..."]] = eqx.field(default_factory=dict)
    """The sums asked for by `record`, by name."""
    steps: Steps | None = None
    """Every accepted step, with `steps=True`."""
    path: DensePath | None = None
    """The dense output of every step, with `dense=True`; read it by `evaluate` and `derivative`."""
    event_ts: Float[Array, "... event"] | None = None
    """Times of the events in their order, with `events=`; NaN beyond the last. Differentiable."""
    event_ys: Any = None
    """The states there, before a jump."""
    event_index: Int[Array, "... event"] | None = None
    """Which fired: its place among the `nj.Event`s in `events`; -1 beyond the last."""
    num_events: Int[Array, "..."] | None = None
    """How many were recorded."""

    def evaluate(self, t: Any) -> State:
        """y at any time of the solve; needs `dense=True`.

        Arguments:
            t: a time or an array of times, between `ts[0]` and `ts[-1]`.

        Returns:
            The state at `t`: leaves have the axes of `t` first. NaN outside the part of the interval that was reached.
            It can be differentiated with respect to `t` and to everything that the solve depends on.
        """
        return self._read(t, "evaluate")

    def derivative(self, t: Any) -> State:
        """dy/dt of the dense output at any time of the solve, in units of state over time; see `evaluate`.

        At a jump that is the slope before it, at one at `ts[0]` the slope after it; NaN if `ts` holds one time alone.
        """
        return self._read(t, "derivative")

    def _read(self, t: Any, what: str) -> State:
        if self.path is None:
            raise ValueError(
                f"Solution.{what}: expected a solve with dense=True, which keeps the dense output of every step. "
                "Call nj.odeint(..., dense=True), or ask for the times you need through ts."
            )
        if self.ts.ndim != 1:
            raise ValueError(
                f"Solution.{what}: expected one solution, got a batch of shape {self.ts.shape[:-1]}. "
                f"Write jax.vmap(lambda sol, t: sol.{what}(t))(solutions, times)."
            )
        times = jnp.asarray(t, self.ts.dtype)
        flat = times.reshape(-1)
        direction = jnp.where(self.ts[-1] < self.ts[0], -1, 1).astype(flat.dtype)
        path = self.path
        values = path.evaluate_whole(flat, direction) if what == "evaluate" else path.derivative(flat, direction)
        reached = jnp.max(jnp.where(jnp.isfinite(path.times), path.times * direction, -jnp.inf))
        is_inside = (flat * direction >= self.ts[0] * direction) & (flat * direction <= reached)

        def shape(leaf: Array) -> Array:
            mask = is_inside.reshape(-1, *[1] * (leaf.ndim - 1))
            return jnp.where(mask, leaf, jnp.nan).reshape(*times.shape, *leaf.shape[1:])

        return jax.tree.map(shape, values)
