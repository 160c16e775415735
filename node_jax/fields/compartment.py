"""Drugs in the body: compartments that exchange by first-order rates, with a clearance that a network may correct."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from node_jax.errors import require
from node_jax.fields.base import AbstractParametricField
from node_jax.fields.dosing import Regimen
from node_jax.fields.network import Network
from node_jax.types import Key


class ClearanceNetwork(eqx.Module):
    r"""The logarithm of a factor of the clearance, as a function of concentration and covariates:

        g(c, x) = bound · tanh(w · σ(... σ(W [log(1 + c / scale), x] + b) ...)).

    A clearance that falls with the concentration is one that saturates, as that of Michaelis and Menten does.

    Arguments:
        num_covariates: size of x.
        scale: a usual concentration, in its unit, > 0.
        width, depth: of the hidden layers.
        bound: largest |g|; 1 lets the clearance change by a factor of e.
        final_scale: factor of the initial weights of the last layer; small starts at the plain model.
        key: random key of the initial weights.

    Raises:
        UsageError, ValueError: for a scale, a bound or sizes that cannot be.
    """

    network: Network
    scale: float = eqx.field(static=True)
    bound: float = eqx.field(static=True)

    def __init__(
        self,
        num_covariates: int,
        scale: float,
        *,
        width: int = 8,
        depth: int = 1,
        bound: float = 1.0,
        final_scale: float = 0.1,
        key: Key,
    ) -> None:
        require(scale > 0, "ClearanceNetwork", "a usual concentration > 0", scale, "The mean of the data will do.")
        require(bound > 0, "ClearanceNetwork", "a bound > 0", bound, "1 lets the clearance change by a factor of e.")
        self.network = Network(1 + num_covariates, (), width, depth, final_scale=final_scale, key=key)
        self.scale, self.bound = scale, bound

    def __call__(self, concentration: Any, covariates: Float[Array, " covariate"]) -> Float[Array, ""]:
        """g at one concentration and one subject's covariates."""
        # A solver's stage may be below zero by a rounding error, where the logarithm would end the solve.
        level = jnp.log1p(jnp.maximum(concentration, 0.0) / self.scale)
        return self.bound * jnp.tanh(self.network(jnp.concatenate([level[None], covariates])))


class CompartmentField(AbstractParametricField):
    r"""The mammillary compartment model, for amounts a: of a depot, of the central compartment 1, of peripheral ones j.

        da_0/dt = -k_a a_0
        da_1/dt = k_a a_0 + u(t) - CL(c) c - Σ_j Q_j (c - a_j / V_j),        c = a_1 / V_1
        da_j/dt = Q_j (c - a_j / V_j)

    with CL(c) = CL exp(g(c, x)), and g = 0 without a network. Without a k_a there is no depot, and doses go to the
    central compartment, as infusions always do. All parameters are positive: their logarithms are the leaves.

    `args` is a `Regimen`, or `None` where nothing is given.

    Arguments:
        clearance: CL, in volume/time.
        volume: V_1, in volume.
        absorption: k_a, in 1/time; `None` is no depot.
        flows: Q_j of the peripheral compartments, in volume/time.
        volumes: V_j of the peripheral compartments, in volume.
        correction: g, a function of concentration and covariates, such as a `ClearanceNetwork`.

    Raises:
        ValueError: for a parameter known not to be positive, or for flows and volumes of different number.

    Reference: Gibaldi & Perrier (1982), Pharmacokinetics, 2nd edition, chapters 1 and 2.

    Example:
        >>> import jax.numpy as jnp, node_jax as nj
        >>> field = nj.fields.CompartmentField(clearance=0.04, volume=0.5, absorption=1.5)
        >>> regimen = nj.fields.Regimen(jnp.array([0.0]), jnp.array([4.0]))
        >>> dose = nj.Jump(regimen.dose_times, field.give)
        >>> nj.odeint(field, field.start(), [0.0, 2.0, 24.0], regimen, events=[dose]).ys.shape
        (3, 2)
    """

    log_clearance: Float[Array, ""]
    log_volume: Float[Array, ""]
    log_absorption: Float[Array, ""] | None
    log_flows: Float[Array, " peripheral"]
    log_volumes: Float[Array, " peripheral"]
    correction: Any

    def __init__(
        self,
        clearance: Any,
        volume: Any,
        *,
        absorption: Any = None,
        flows: Any = (),
        volumes: Any = (),
        correction: Any = None,
    ) -> None:
        self.log_clearance = _log("clearance", clearance)
        self.log_volume = _log("volume", volume)
        self.log_absorption = None if absorption is None else _log("absorption", absorption)
        self.log_flows, self.log_volumes = _log("flows", flows), _log("volumes", volumes)
        self.correction = correction
        if self.log_flows.ndim != 1 or self.log_flows.shape != self.log_volumes.shape:
            raise ValueError(
                "CompartmentField: expected as many flows as volumes of peripheral compartments, got shapes "
                f"{self.log_flows.shape} and {self.log_volumes.shape}."
            )

    @property
    def has_depot(self) -> bool:
        """Whether doses are absorbed first."""
        return self.log_absorption is not None

    @property
    def dim(self) -> int:
        """Size of the state."""
        return self.has_depot + 1 + self.log_flows.shape[0]

    def start(self) -> Float[Array, " compartment"]:
        """The state of a subject to whom nothing has been given."""
        return jnp.zeros(self.dim, self.log_clearance.dtype)

    def give(self, t: Any, y: Float[Array, " compartment"], args: Regimen) -> Float[Array, " compartment"]:
        """The state just after the doses of time t: the jump of an `nj.Jump`."""
        return y.at[0].add(args.amount_at(t).astype(y.dtype))

    def concentration(self, y: Float[Array, "*batch compartment"]) -> Float[Array, "*batch"]:
        """c, that of the central compartment, in amount/volume."""
        return y[..., int(self.has_depot)] / jnp.exp(self.log_volume)

    def named_parameters(self) -> dict[str, Float[Array, ""]]:
        """CL, V1, ka, Qj and Vj by name, in the user's units; of the clearance the part that no network corrects."""
        found = {"clearance": jnp.exp(self.log_clearance), "volume": jnp.exp(self.log_volume)}
        if self.log_absorption is not None:
            found["absorption"] = jnp.exp(self.log_absorption)
        for j in range(self.log_flows.shape[0]):
            found[f"flow_{j + 1}"] = jnp.exp(self.log_flows[j])
            found[f"volume_{j + 1}"] = jnp.exp(self.log_volumes[j])
        return found

    def __call__(self, t: Any, y: Float[Array, " compartment"], args: Regimen | None = None) -> Array:
        """The derivative of the amounts, in amount/time."""
        y = jnp.asarray(y)
        if y.shape != (self.dim,):
            raise ValueError(
                f"CompartmentField: expected a state of shape ({self.dim},), the depot first if there is one, got "
                f"{y.shape}. Solve many subjects with nj.odeint_batch or jax.vmap."
            )
        central = y[int(self.has_depot)]
        c = central * jnp.exp(-self.log_volume)
        log_clearance = self.log_clearance
        if self.correction is not None:
            covariates = jnp.zeros(0, y.dtype) if args is None else args.covariates
            log_clearance = log_clearance + self.correction(c, covariates)
        exchange = jnp.exp(self.log_flows) * (c - y[self.dim - self.log_flows.shape[0] :] * jnp.exp(-self.log_volumes))
        slope = -jnp.exp(log_clearance) * c - jnp.sum(exchange)
        if args is not None:
            slope = slope + args.rate(t).astype(y.dtype)
        parts = [exchange]
        if self.log_absorption is not None:
            absorbed = jnp.exp(self.log_absorption) * y[0]
            slope = slope + absorbed
            parts = [-absorbed[None], slope[None], exchange]
        else:
            parts = [slope[None], exchange]
        return jnp.concatenate(parts)


def _log(name: str, value: Any) -> Array:
    value = jnp.asarray(value, float)
    if not isinstance(value, Tracer) and not bool(jnp.all(value > 0)):
        raise ValueError(f"CompartmentField: expected a positive {name}, got {value}.")
    return jnp.log(value)
