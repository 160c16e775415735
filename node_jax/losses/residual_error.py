"""How measurements scatter around a prediction, those below the limit of quantification included."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from node_jax.errors import require


class ResidualError(eqx.Module):
    r"""Normal scatter with an additive and a proportional part:

        y = f + ε,        ε ~ N(0, v(f)),        v(f) = a² + b² f².

    A value below the limit of quantification L is known to be that alone; its likelihood is Φ((L - f) / v(f)^½), the
    method M3 of Beal (2001). Leaves are the logarithms of a and b.

    Arguments:
        additive: initial a, in the unit of y, > 0; `None` for none.
        proportional: initial b, > 0; `None` for none. Without an additive part predictions must not be zero.

    Raises:
        UsageError: for no part at all, or one that is not positive.

    Reference: Beal (2001), Ways to fit a PK model with some data below the quantification limit, J. Pharmacokinet.
    Pharmacodyn. 28, 481-504, doi:10.1023/A:1012299115260.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> error = nj.losses.ResidualError(additive=0.5)
        >>> bool(error.scale(jnp.array(3.0)) == 0.5)
        True
    """

    log_additive: Float[Array, ""] | None
    log_proportional: Float[Array, ""] | None

    def __init__(self, additive: float | None = None, proportional: float | None = None) -> None:
        some = additive is not None or proportional is not None
        require(some, "ResidualError", "an additive or a proportional part", None, "additive=1.0 is a start.")
        for name, value in (("additive", additive), ("proportional", proportional)):
            is_fine = value is None or value > 0
            require(is_fine, "ResidualError", f"{name} > 0 or None", value, "Its logarithm is trained.")
        self.log_additive = None if additive is None else jnp.log(jnp.asarray(additive, float))
        self.log_proportional = None if proportional is None else jnp.log(jnp.asarray(proportional, float))

    def variance(self, prediction: Float[Array, "..."]) -> Float[Array, "..."]:
        """v(f)."""
        total = jnp.zeros_like(prediction)
        if self.log_additive is not None:
            total = total + jnp.exp(2 * self.log_additive)
        if self.log_proportional is not None:
            total = total + jnp.exp(2 * self.log_proportional) * prediction**2
        return total

    def scale(self, prediction: Float[Array, "..."]) -> Float[Array, "..."]:
        """The standard deviation of a measurement."""
        return jnp.sqrt(self.variance(prediction))

    def misfit(
        self, prediction: Float[Array, " time"], values: Float[Array, " time"], is_censored: Bool[Array, " time"]
    ) -> Float[Array, " time"]:
        """-log p(y | f) of each measurement.

        Arguments:
            prediction: f.
            values: y; the limit of quantification where `is_censored`.
            is_censored: whether a value is only known to lie below its limit.
        """
        variance = self.variance(prediction)
        z = (values - prediction) / jnp.sqrt(variance)
        measured = 0.5 * (z**2 + jnp.log(2 * jnp.pi * variance))
        return jnp.where(is_censored, -jax.scipy.stats.norm.logcdf(z), measured)

    def information(
        self, prediction: Float[Array, " time"], values: Float[Array, " time"], is_censored: Bool[Array, " time"]
    ) -> Float[Array, " time"]:
        r"""A second derivative of `misfit` for f that is never negative, arguments as there.

        Of a measured value the expected one, 1/v + ½ (v'/v)²; of a censored one h''(z) (dz/df)², with h = -log Φ.
        """
        one = jnp.ones_like(prediction)
        variance, slope = jax.jvp(self.variance, (prediction,), (one,))

        def standardized(f: Array) -> Array:
            return (values - f) / jnp.sqrt(self.variance(f))

        z, z_slope = jax.jvp(standardized, (prediction,), (one,))
        ratio = jnp.exp(jax.scipy.stats.norm.logpdf(z) - jax.scipy.stats.norm.logcdf(z))
        measured = 1 / variance + 0.5 * (slope / variance) ** 2
        return jnp.where(is_censored, ratio * (z + ratio) * z_slope**2, measured)
