"""The control inputs of solves, as arrays that are cut and drawn with the rows of trajectories."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from node_jax.data import Controls
from node_jax.interpolate import Linear, ZeroOrderHold


class Inputs(eqx.Module):
    """Controls of several solves, all leaves with a leading axis of these.

    Arguments:
        times: shape (solve, time), the knots, in the model's time; `None` where controls are constant.
        values: shape (solve, time, num_controls), or (solve, num_controls) where they are constant.
        between: as in `Controls`.
    """

    times: Float[Array, "solve time"] | None
    values: Float[Array, "solve ..."]
    between: str = eqx.field(static=True)

    def segments(self, rows: np.ndarray) -> "Inputs":
        """The same with an axis of segments after that of series.

        Arguments:
            rows: of each segment, shape (segment, row); they are its knots, so that it carries no others.
        """
        if self.times is None:
            values = jnp.broadcast_to(self.values[:, None], (len(self.values), len(rows), self.values.shape[-1]))
            return Inputs(None, values, self.between)
        return Inputs(self.times[:, rows], self.values[:, rows], self.between)

    def at_rows(self, num_rows: int) -> Float[Array, "series row num_controls"]:
        """Controls at the rows of each series; at a jump of a hold the new value."""
        if self.times is None:
            return jnp.broadcast_to(self.values[:, None], (len(self.values), num_rows, self.values.shape[-1]))
        return self.values

    def as_args(self) -> Any:
        """What a batched solve takes as `args`: a path of each solve, or what is constant along it."""
        if self.times is None:
            return self.values
        path: Any = ZeroOrderHold if self.between == "hold" else Linear
        return jax.vmap(path)(self.times, self.values)


def inputs_of(controls: Controls | None, times: Float[Array, "series time"]) -> Inputs | None:
    """The controls of trajectories.

    Arguments:
        controls: of the data.
        times: of the rows, in the model's time.
    """
    if controls is None:
        return None
    values = jnp.asarray(controls.values, float)
    return Inputs(None if controls.is_constant else times, values, controls.between)
