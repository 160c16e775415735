"""Subjects of a population: nonlinear mixed effects."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import is_positive
from node_jax.config.data import SubjectsData
from node_jax.config.fields import Compartments
from node_jax.config.regularize import Regularize
from node_jax.config.variants import TaskVariant
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class Population(TaskVariant):
    """Nonlinear mixed effects, fitted by Laplace's approximation of the marginal likelihood."""

    random: tuple[str, ...] = ("clearance",)
    """Parameters of the field that differ between people, such as clearance, volume, absorption, flow_1, volume_1."""
    random_scale: float = 0.3
    """Initial standard deviation of the logarithms among people, > 0."""
    is_correlated: bool = False
    """Whether these differences are correlated."""
    effects: tuple[str, ...] = ()
    """Effects of covariates on logarithms of parameters, each as parameter:covariate, such as clearance:weight."""
    additive: float | None = 0.5
    """Initial standard deviation of the error, in the data's unit, > 0; None for no such part."""
    proportional: float | None = None
    """Initial standard deviation of the relative error, > 0; None for no such part."""
    curvature: Literal["expected", "exact"] = "expected"
    """Of Laplace's approximation: expected needs no second derivative of the solve (FOCEI)."""
    tolerance: float = 1e-4
    """Largest change of a random effect in the last step of its search, in standard deviations, > 0."""
    batch_size: int | None = None
    """People drawn for each training step; None takes all."""

    def __post_init__(self) -> None:
        require(bool(self.random), "task.random", "at least one parameter", self.random, "clearance is usual.")
        for name in ("random_scale", "tolerance"):
            require(is_positive(getattr(self, name)), f"task.{name}", "a number > 0", getattr(self, name), "See there.")
        some = self.additive is not None or self.proportional is not None
        require(some, "task.additive, task.proportional", "at least one part", None, "Data scatter.")
        for name in ("additive", "proportional"):
            value = getattr(self, name)
            require(value is None or is_positive(value), f"task.{name}", "a number > 0 or None", value, "See there.")
        for effect in self.effects:
            is_pair = effect.count(":") == 1
            require(is_pair, "task.effects", "parameter:covariate", effect, "clearance:weight, for example.")
        batch_is_fine = self.batch_size is None or self.batch_size >= 1
        require(batch_is_fine, "task.batch_size", "at least 1 or None", self.batch_size, "None takes all.")

    def check(self, run: Any) -> None:
        """What this task needs of its run."""
        is_fine = isinstance(run.data, SubjectsData)
        require(is_fine, "task, data", "SubjectsData", type(run.data).__name__, "Choose data:subjects-data.")
        is_fine = isinstance(run.field, Compartments)
        require(is_fine, "task, field", "Compartments", type(run.field).__name__, "Choose field:compartments.")
        require(run.reference is None, "reference", "None with a Population", run.reference, "Compare two runs.")
        is_plain = run.regularize == Regularize()
        cure = "The network's is field.correction.weight_penalty."
        require(is_plain, "regularize", "no regularizers with a Population", run.regularize, cure)
        require(not run.train.watch_growth, "train.watch_growth", "False with a Population", True, "Leave it out.")
        for name in (*self.random, *(effect.split(":")[0] for effect in self.effects)):
            is_known = name in run.field.start
            expected = f"parameters of the field, {', '.join(run.field.start)}"
            require(is_known, "task.random, task.effects", expected, name, "Name one of these.")

    def batch_sizes(self) -> tuple[int | None, ...]:
        """See `TaskVariant.batch_sizes`."""
        return (self.batch_size,)
