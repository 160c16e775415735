"""What is measured of one subject, as a function of the subject's own parameters."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from node_jax.errors import UsageError
from node_jax.events import Jump
from node_jax.fields import CompartmentField, Regimen
from node_jax.integrate import Integrator


class AbstractIndividual(eqx.Module):
    """Predictions for one subject from its parameters φ. What all subjects share, such as a network, is its leaves."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the parameters in φ, in their order."""

    @abc.abstractmethod
    def predict(
        self, parameters: Float[Array, " parameter"], times: Float[Array, " time"], regimen: Any, integrator: Integrator
    ) -> Float[Array, " time"]:
        """What is measured without an error.

        Arguments:
            parameters: φ, without bounds: logarithms where a parameter is positive.
            times: sorted; the subject is at rest before the first.
            regimen: what the subject was given.
            integrator: how a field is solved; its adjoint is chosen for the derivative that is taken.
        """


class CompartmentIndividual(AbstractIndividual):
    r"""The concentration in the central compartment of a `CompartmentField` with parameters exp(φ).

    Arguments:
        names: what φ holds the logarithms of: "clearance", and "volume" or "elimination" (k_e = CL / V_1, which then
            takes the volume's place); "absorption" for a depot; for each peripheral compartment j = 1, 2 "flow_j" and
            "volume_j".
        correction: of the clearance, shared by all subjects, such as a `ClearanceNetwork`; `None` for none.

    Raises:
        UsageError: for names that do not make a model.
    """

    parameter_names: tuple[str, ...] = eqx.field(static=True)
    correction: Any

    def __init__(self, names: tuple[str, ...], correction: Any = None) -> None:
        self.parameter_names, self.correction = tuple(names), correction
        known = {"clearance", "volume", "elimination", "absorption"}
        known |= {f"{kind}_{j + 1}" for kind in ("flow", "volume") for j in range(self.num_peripheral)}
        is_fine = set(names) <= known and len(set(names)) == len(names) and "clearance" in names
        if not (is_fine and ("volume" in names) != ("elimination" in names)):
            raise UsageError(
                'CompartmentIndividual: expected names "clearance", either "volume" or "elimination", perhaps '
                f'"absorption", and "flow_j" with "volume_j" for j = 1, 2, ..., each once, got {tuple(names)}.'
            )
        for j in range(self.num_peripheral):
            if not {f"flow_{j + 1}", f"volume_{j + 1}"} <= set(names):
                raise UsageError(
                    f"CompartmentIndividual: expected flow_{j + 1} and volume_{j + 1} of the peripheral compartment, "
                    f"got {tuple(names)}."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """See `AbstractIndividual.names`."""
        return self.parameter_names

    @property
    def num_peripheral(self) -> int:
        """How many peripheral compartments there are."""
        return sum(name.startswith("flow_") for name in self.parameter_names)

    def field(self, parameters: Float[Array, " parameter"]) -> CompartmentField:
        """The vector field of a subject with these parameters."""
        of = dict(zip(self.names, jnp.exp(parameters), strict=True))
        volume = of["volume"] if "volume" in of else of["clearance"] / of["elimination"]
        flows = [of[f"flow_{j + 1}"] for j in range(self.num_peripheral)]
        volumes = [of[f"volume_{j + 1}"] for j in range(self.num_peripheral)]
        return CompartmentField(
            of["clearance"],
            volume,
            absorption=of.get("absorption"),
            flows=jnp.asarray(flows),
            volumes=jnp.asarray(volumes),
            correction=self.correction,
        )

    def predict(
        self,
        parameters: Float[Array, " parameter"],
        times: Float[Array, " time"],
        regimen: Regimen,
        integrator: Integrator,
    ) -> Float[Array, " time"]:
        """See `AbstractIndividual.predict`. At the time of a dose the value is the one before it."""
        field = self.field(parameters)
        events = (Jump(regimen.dose_times, field.give),) if regimen.dose_times.shape[0] else ()
        solution = integrator(field, field.start(), times, regimen, events=events)
        return field.concentration(solution.ys)
