"""Field and times in, `Solution` out."""

from node_jax.integrate.batch import odeint_batch
from node_jax.integrate.integrator import Integrator
from node_jax.integrate.ode import odeint

__all__ = ["Integrator", "odeint", "odeint_batch"]
