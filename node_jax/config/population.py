"""Populations of subjects: the data, the compartments, and what is fitted."""

from dataclasses import dataclass
from typing import Any, Literal

from node_jax.config.checks import is_positive, require_at_least
from node_jax.config.regularize import Regularize
from node_jax.errors import require


@dataclass(frozen=True, kw_only=True)
class SubjectsData:
    """Concentrations in several people, fetched by `node-jax data get`, with samples and people held out."""

    name: Literal["theophylline", "remifentanil"] = "theophylline"
    """Theoph: 12 people, a dose by mouth, mg/l over h; Remifentanil: 65 people, an infusion each, ng/ml over min."""
    held_out_samples: float = 0.0
    """Share of each person's samples that is not fitted but predicted, in [0, 1)."""
    num_folds: int | None = None
    """Parts into which the people are dealt, one of which is not fitted but validates and is predicted, at least 2;
    None fits all."""
    fold: int = 0
    """Which part is held out, from 0."""
    split_seed: int = 0
    """Seed of what is held out, at least 0; that of the run draws initial parameters."""
    limit: float | None = None
    """Values below it are only known to be below, > 0; None takes all as they are."""

    def __post_init__(self) -> None:
        share = self.held_out_samples
        require(0 <= share < 1, "data.held_out_samples", "a share in [0, 1)", share, "0.2 is usual.")
        folds_are_fine = self.num_folds is None or self.num_folds >= 2
        require(folds_are_fine, "data.num_folds", "at least 2 or None", self.num_folds, "5 is usual.")
        is_fine = 0 <= self.fold < (self.num_folds or 1)
        require(is_fine, "data.fold", f"at least 0 and below {self.num_folds or 1}", self.fold, "Parts count from 0.")
        require_at_least(self.split_seed, 0, "data.split_seed", "Any such number will do.")
        limit_is_fine = self.limit is None or is_positive(self.limit)
        require(limit_is_fine, "data.limit", "a limit > 0 or None", self.limit, "None takes all values as they are.")


@dataclass(frozen=True, kw_only=True)
class ClearanceCorrection:
    """A network that multiplies the clearance, of concentration and covariates; it starts near 1."""

    width: int = 8
    """Size of each hidden layer, at least 1."""
    depth: int = 1
    """Number of hidden layers, at least 0."""
    scale: float = 5.0
    """A usual concentration, in the data's unit, > 0."""
    bound: float = 1.0
    """Largest logarithm of the factor, > 0."""
    weight_penalty: float = 0.0
    """Factor of the sum of squared weights, which is added to -log p of all data, >= 0: a normal prior."""

    def __post_init__(self) -> None:
        require_at_least(self.width, 1, "field.correction.width", "8 is plenty.")
        require_at_least(self.depth, 0, "field.correction.depth", "1 is usual.")
        require(is_positive(self.scale), "field.correction.scale", "a number > 0", self.scale, "The mean of the data.")
        require(is_positive(self.bound), "field.correction.bound", "a number > 0", self.bound, "1 is a factor of e.")
        require_at_least(self.weight_penalty, 0, "field.correction.weight_penalty", "1 is a start.")


@dataclass(frozen=True, kw_only=True)
class Compartments:
    """Compartments with first-order exchange; the numbers are initial values, whose logarithms are trained."""

    clearance: float = 1.0
    """In volume/time, > 0."""
    volume: float | None = None
    """Of the central compartment, > 0; give this or the elimination."""
    elimination: float | None = None
    """clearance / volume, in 1/time, > 0."""
    absorption: float | None = None
    """In 1/time, > 0; None gives doses into the blood."""
    flows: tuple[float, ...] = ()
    """To each peripheral compartment, in volume/time, > 0."""
    volumes: tuple[float, ...] = ()
    """Of each peripheral compartment, > 0."""
    correction: ClearanceCorrection | None = None
    """A network that corrects the clearance; None for none."""

    def __post_init__(self) -> None:
        one = (self.volume is None) != (self.elimination is None)
        require(one, "field.volume, field.elimination", "one of the two", (self.volume, self.elimination), "Leave one.")
        cure = "Their logarithms are trained."
        for name, value in self.start.items():
            require(is_positive(value), f"field, {name}", "a number > 0", value, cure)
        fits = len(self.flows) == len(self.volumes)
        require(fits, "field.flows", f"as many as volumes, {len(self.volumes)}", self.flows, "One a compartment.")

    @property
    def start(self) -> dict[str, float]:
        """Initial values by the names that `CompartmentIndividual` knows."""
        found = {name: getattr(self, name) for name in ("absorption", "clearance", "elimination", "volume")}
        for j, (flow, volume) in enumerate(zip(self.flows, self.volumes, strict=False), 1):
            found |= {f"flow_{j}": flow, f"volume_{j}": volume}
        return {name: value for name, value in found.items() if value is not None}

    def check(self, run: Any) -> None:
        """What this field needs of its run."""
        is_population = isinstance(run.task, Population)
        cure = "Choose task:population, or another field."
        require(is_population, "field, task", "a Population with Compartments", type(run.task).__name__, cure)

    @property
    def max_dropout(self) -> float:
        """The largest share that is dropped anywhere in the field."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Population:
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
