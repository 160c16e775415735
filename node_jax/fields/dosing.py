"""What is given to a subject, and when."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.interpolate import ZeroOrderHold


class Regimen(eqx.Module):
    """Doses at known times, an infusion that is piecewise constant, and what else is known of a subject.

    It is the `args` of a `CompartmentField`: the solve stops where the rate of the infusion changes. Doses are jumps of
    the state; `nj.Jump(regimen.dose_times, field.give)` among the events of the solve makes them.

    Arguments:
        dose_times: shape (dose,), in the unit of time; infinity is padding.
        dose_amounts: shape (dose,), in the unit of amount; 0 where there is padding. Doses at one time add up.
        infusion: the rate in amount/time, a `nj.interpolate.ZeroOrderHold` of scalars; `None` is no infusion.
        covariates: shape (covariate,), such as age and weight, in units near 1.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> rate = nj.interpolate.ZeroOrderHold([0.0, 20.0], [70.0, 0.0])
        >>> nj.fields.Regimen(jnp.array([0.0]), jnp.array([100.0]), rate).rate(10.0).item()
        70.0
    """

    dose_times: Float[Array, " dose"]
    dose_amounts: Float[Array, " dose"]
    infusion: ZeroOrderHold | None = None
    covariates: Float[Array, " covariate"] = eqx.field(default_factory=lambda: jnp.zeros(0))

    def rate(self, t: Any) -> Float[Array, ""]:
        """The rate of the infusion at time t."""
        return jnp.zeros(()) if self.infusion is None else self.infusion(t)

    def amount_at(self, t: Any) -> Float[Array, ""]:
        """The sum of the doses at just this time."""
        return jnp.sum(jnp.where(self.dose_times == t, self.dose_amounts, 0.0))
