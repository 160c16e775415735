"""What a solve returns."""

import equinox as eqx
from jaxtyping import Array, Float, Int

from node_jax.types import State


class Stats(eqx.Module):
    """What a solve cost, counted per trajectory."""

    num_evals: Int[Array, "..."]
    """Field evaluations, first-step search included; -1 where a foreign solver does not say."""
    num_accepted: Int[Array, "..."]
    """Accepted steps."""
    num_rejected: Int[Array, "..."]
    """Rejected steps."""


class Solution(eqx.Module):
    """The values of a solve at the requested times, and how it went.

    Inside compiled code nothing raises; look at `status`, or call `nj.check(solution)` on the host.
    """

    ts: Float[Array, "... time"]
    """The requested times; `ts[0]` is the initial time."""
    ys: State
    """`ys[i]` is y(ts[i]): each leaf has a leading time axis. Rows that were not reached are NaN."""
    status: Int[Array, "..."]
    """An `nj.Status` as int32."""
    stats: Stats
    """Field evaluations, accepted and rejected steps."""
