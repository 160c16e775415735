"""A vector field, integrated, in the user's units."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from node_jax.fields import AbstractField
from node_jax.integrate import Integrator
from node_jax.models.scaling import Scaling
from node_jax.solution import Solution


class Forecaster(eqx.Module):
    """y(ts) = scaling⁻¹(odeint(field, scaling(y0), scaling(ts))).

    Arguments:
        field: the vector field, in the model's units.
        scaling: between the user's units and the model's; saved with the model, not trained.
        integrator: how the field is solved.
    """

    field: AbstractField
    scaling: Scaling
    integrator: Integrator

    def __call__(self, y0: Any, ts: Any) -> Solution:
        """States at `ts` from `y0` at `ts[0]`, both in the user's units.

        Arguments:
            y0: shape (dim,).
            ts: shape (time,), sorted.

        Returns:
            A `Solution` whose `ts` and `ys` are in the user's units.
        """
        solution = self.solve_scaled(self.scaling.state_to_model(y0), self.scaling.time_to_model(ts))
        times = self.scaling.time_from_model(solution.ts)
        return Solution(times, self.scaling.state_from_model(solution.ys), solution.status, solution.stats)

    def solve_scaled(self, z0: Float[Array, " dim"], taus: Float[Array, " time"]) -> Solution:
        """The same in the model's units, where a loss is computed."""
        return self.integrator(self.field, z0, taus)
