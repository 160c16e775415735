"""How a run solves its field: the method of one step, and how large steps are."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from node_jax.config.checks import is_positive
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Tsit5:
    """Tsitouras 5(4), adaptive or not."""


@dataclass(frozen=True, kw_only=True)
class Bosh5:
    """Bogacki and Shampine 5(4), adaptive or not; longer steps of more evaluations."""


@dataclass(frozen=True, kw_only=True)
class RK4:
    """The classical method of order 4, for steps of one size."""


@dataclass(frozen=True, kw_only=True)
class DiffraxSolver:
    """A solver of diffrax through the same call."""

    method: Literal["dopri5", "dopri8", "kvaerno3", "kvaerno4", "kvaerno5"] = "kvaerno5"
    """Explicit (dopri) or implicit (kvaerno, for stiff fields)."""


@dataclass(frozen=True, kw_only=True)
class PIController:
    """Adaptive steps."""

    rtol: float = 1e-3
    """Relative tolerance of the local error, > 0."""
    atol: float = 1e-3
    """Absolute tolerance of the local error, in the model's units of state, > 0."""
    dt0: float | None = None
    """First step, in units of task.time_scale; None searches one at one evaluation more."""

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            require(is_positive(value), f"controller.{name}", "a tolerance > 0", value, "1e-3 to 1e-6 is usual.")
        dt0_is_fine = self.dt0 is None or is_positive(self.dt0)
        require(dt0_is_fine, "controller.dt0", "a step > 0 or None", self.dt0, "None searches one.")


@dataclass(frozen=True, kw_only=True)
class ConstantStep:
    """Steps of one size."""

    dt: float = 0.1
    """Step size, in units of task.time_scale, > 0."""

    def __post_init__(self) -> None:
        require(
            is_positive(self.dt), "controller.dt", "a step size > 0", self.dt, "A tenth of task.time_scale is a start."
        )


@dataclass(frozen=True, kw_only=True)
class FixedSteps:
    """The same number of equal steps between every two rows."""

    n: int = 1
    """Steps between two rows, at least 1."""

    def __post_init__(self) -> None:
        require(self.n >= 1, "controller.n", "at least 1", self.n, "1 or 2 is usual between close rows.")


Solver: TypeAlias = Tsit5 | Bosh5 | RK4 | DiffraxSolver
Controller: TypeAlias = PIController | ConstantStep | FixedSteps
