"""Fields that are known but for a few numbers: the mechanism of a hybrid, or a field by themselves."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from node_jax.config.checks import is_positive
from node_jax.config.data import CsvData, SimulatedData
from node_jax.config.variants import FieldVariant, require_units
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class PendulumField(FieldVariant):
    """The pendulum, its frequency and its friction trained. Needs the angle and its rate, as they are."""

    period: float = 6.0
    """Initial period of small swings without friction, in units of task.time_scale, > 0."""
    damping: float | None = None
    """Initial friction, in 1 / task.time_scale; None has no friction."""

    def __post_init__(self) -> None:
        require(is_positive(self.period), "field.period", "a time > 0", self.period, "Read it off the data.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        require_units(run, "none", "PendulumField", "It has the unit of an angle")
        _require_two(run, "PendulumField", "angle then rate")


@dataclass(frozen=True, kw_only=True)
class LotkaVolterraField(FieldVariant):
    """Lotka-Volterra in logarithms, its four rates trained. Needs two series, prey then predator."""

    growth: float = 3.0
    """Initial growth rate of the prey, in 1 / task.time_scale, > 0."""
    predation: float = 3.0
    """Initial predation rate at the predator's mean, in 1 / task.time_scale, > 0."""
    reproduction: float = 3.0
    """Initial growth rate of the predator at the prey's mean, in 1 / task.time_scale, > 0."""
    death: float = 3.0
    """Initial death rate of the predator, in 1 / task.time_scale, > 0."""

    def __post_init__(self) -> None:
        for name in ("growth", "predation", "reproduction", "death"):
            value = getattr(self, name)
            require(is_positive(value), f"field.{name}", "a rate > 0", value, "Their logarithm is trained.")

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        name = type(self).__name__
        require_units(run, "log", name, "It is written for logarithms")
        _require_two(run, name, "prey then predator")


Mechanism: TypeAlias = PendulumField | LotkaVolterraField


def _require_two(run: Any, field: str, quantities: str) -> None:
    is_lorenz = isinstance(run.data, SimulatedData) and run.data.system == "lorenz"
    columns = run.data.columns if isinstance(run.data, CsvData) else ("",) * 2
    is_fine = len(columns) == 2 and not is_lorenz
    came = "those of lorenz" if is_lorenz else columns
    cure = f"{field} needs two series, {quantities}."
    require(is_fine, "field, data", f"two quantities with {field}", came, cure)
