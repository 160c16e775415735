"""What a run may say: frozen dataclasses of numbers, strings, tuples, and unions of such dataclasses.

Every field carries a line of help with its unit or range; the command line shows it. Checks that need one field or
several are in `__post_init__` and only ever raise.
"""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal, TypeAlias

from node_jax.config.checks import is_positive
from node_jax.config.data import CsvData, Data, HareLynxData, SimulatedData
from node_jax.config.optimizers import LBFGS, AdamW, CosineSchedule, Optimizer, Schedule
from node_jax.config.regularize import Regularize
from node_jax.config.sweep import Sweep, expand
from node_jax.config.tasks import Forecast, Task, Trajectory
from node_jax.config.train import Train
from node_jax.errors import UsageError, require


@dataclass(frozen=True, kw_only=True)
class MLPField:
    """A network alone: the pure neural ODE."""

    width: int = 16
    """Size of each hidden layer, at least 1."""
    depth: int = 2
    """Number of hidden layers, at least 0."""
    activation: Literal["tanh", "softplus", "silu"] = "tanh"
    """Nonlinearity; all are smooth, as an adaptive solver wants."""
    is_time_dependent: bool = False
    """Whether time is an input beside the state."""
    final_scale: float = 0.1
    """Factor of the last layer's initial weights, > 0; small starts near a field of zero."""
    dropout: float = 0.0
    """Share of hidden units that is dropped in training, in [0, 1); the same units all along a solve."""

    def __post_init__(self) -> None:
        require(self.width >= 1, "field.width", "at least 1", self.width, "16 to 64 is usual for few variables.")
        require(self.depth >= 0, "field.depth", "at least 0", self.depth, "2 is usual.")
        scale = self.final_scale
        require(is_positive(scale), "field.final_scale", "a finite number > 0", scale, "0.1 to 1 is usual.")
        require(0 <= self.dropout < 1, "field.dropout", "a share in [0, 1)", self.dropout, "0.1 to 0.5 is usual.")


@dataclass(frozen=True, kw_only=True)
class HybridLotkaVolterra:
    """Lotka-Volterra in logarithms, its four rates trained, plus a network for what it misses. Needs two series."""

    growth: float = 3.0
    """Initial growth rate of the prey, in 1 / task.time_scale, > 0."""
    predation: float = 3.0
    """Initial predation rate at the predator's mean, in 1 / task.time_scale, > 0."""
    reproduction: float = 3.0
    """Initial growth rate of the predator at the prey's mean, in 1 / task.time_scale, > 0."""
    death: float = 3.0
    """Initial death rate of the predator, in 1 / task.time_scale, > 0."""
    residual: MLPField = dataclass_field(default_factory=MLPField)
    """The network that is added."""

    def __post_init__(self) -> None:
        for name in ("growth", "predation", "reproduction", "death"):
            value = getattr(self, name)
            require(
                value > 0,
                f"field.{name}",
                "a rate > 0",
                value,
                "Rates are positive; their logarithm is trained.",
            )


@dataclass(frozen=True, kw_only=True)
class Tsit5:
    """Tsitouras 5(4), adaptive or not."""


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


Field: TypeAlias = MLPField | HybridLotkaVolterra
Solver: TypeAlias = Tsit5 | RK4 | DiffraxSolver
Controller: TypeAlias = PIController | ConstantStep | FixedSteps


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run, from data to report."""

    name: str
    """Name of the run; its folder is output/name-time."""
    task: Task
    """What is fitted and measured."""
    data: Data = dataclass_field(default_factory=HareLynxData)
    """Where the numbers come from."""
    field: Field
    """The vector field dy/dt = f(t, y)."""
    reference: MLPField | None = None
    """A second field, trained in the same way, to compare with; None trains none, and a sweep neither."""
    solver: Solver = dataclass_field(default_factory=Tsit5)
    """The method of one step."""
    controller: Controller = dataclass_field(default_factory=PIController)
    """How large steps are."""
    max_steps: int = 256
    """Bound on attempted steps of one solve, at least 1; the backward pass keeps this many states."""
    optimizer: Optimizer = dataclass_field(default_factory=AdamW)
    """How parameters move."""
    schedule: Schedule = dataclass_field(default_factory=CosineSchedule)
    """How the learning rate changes over training."""
    train: Train = dataclass_field(default_factory=Train)
    """How long to train and how often to look."""
    regularize: Regularize = dataclass_field(default_factory=Regularize)
    """What training keeps small beside its loss."""
    sweep: Sweep = dataclass_field(default_factory=Sweep)
    """Several runs of this config, by seeds and over a grid of numbers."""
    seed: int = 0
    """Seed of initial parameters and batches, in [0, 2^32)."""
    output: str = "runs"
    """Folder in which the run's own folder is made."""

    def __post_init__(self) -> None:
        is_name = bool(self.name) and not set(self.name) & set("/\\ ")
        require(is_name, "name", "a word without slashes and spaces", self.name, "It names a folder.")
        require(self.max_steps >= 1, "max_steps", "at least 1", self.max_steps, "256 is a start.")
        require(0 <= self.seed < 2**32, "seed", "at least 0 and below 2^32", self.seed, "Any such number will do.")
        if isinstance(self.solver, RK4) and isinstance(self.controller, PIController):
            raise UsageError(
                "solver, controller: RK4 has no error estimate, which an adaptive controller needs. Choose "
                "solver:tsit5, or controller:constant-step."
            )
        self._check_task()
        self._check_optimizer()
        self._check_regularizers()
        if not self.sweep.is_single:
            expand(self, self.sweep)
        hybrid = isinstance(self.field, HybridLotkaVolterra)
        if hybrid and self.task.transform != "log":
            raise UsageError(
                "field, task.transform: HybridLotkaVolterra is written for logarithms. Choose --task.transform log."
            )
        if hybrid and isinstance(self.data, CsvData) and len(self.data.columns) != 2:
            raise UsageError(
                f"field, data.columns: HybridLotkaVolterra needs two series, prey then predator, "
                f"got {self.data.columns}."
            )

    def _check_regularizers(self) -> None:
        is_foreign = isinstance(self.solver, DiffraxSolver)
        recorded = [name for name in ("error", "stiffness") if getattr(self.regularize, name) > 0]
        cure = "Choose solver:tsit5, or another regularizer."
        require(not (is_foreign and recorded), "regularize", "a solver of this package", recorded, cure)
        is_counted = not (is_foreign and self.regularize.nfe_budget is not None)
        expected = "None with a solver of diffrax, which does not count evaluations"
        require(is_counted, "regularize.nfe_budget", expected, self.regularize.nfe_budget, "Choose solver:tsit5.")
        is_estimated = not (isinstance(self.solver, RK4) and recorded)
        require(is_estimated, "regularize", "a solver with an error estimate", recorded, "Choose solver:tsit5.")

    @property
    def num_steps(self) -> int:
        """Optimizer steps at most."""
        return self.task.num_steps if isinstance(self.task, Trajectory) else self.train.num_steps

    def _check_task(self) -> None:
        task = self.task
        if isinstance(task, Forecast):
            is_series = not isinstance(self.data, SimulatedData)
            cure = "Choose a task Trajectory for simulated data."
            require(is_series, "task, data", "one measured series to forecast", "SimulatedData", cure)
            has_missing = isinstance(self.data, CsvData) and self.data.has_missing
            cure = "Choose a task Trajectory, which masks missing values."
            require(not has_missing, "data.has_missing", "False with a Forecast", True, cure)
            return
        is_fine = task.train_until is None or not isinstance(self.data, SimulatedData)
        cure = "Simulated data are held out by data.num-held-out."
        require(is_fine, "task.train_until", "None with simulated data", task.train_until, cure)
        log_every = self.train.log_every
        for i, stage in enumerate(task.stages):
            expected = f"a multiple of train.log_every = {log_every}"
            cure = "A resumed run must meet whole dispatches."
            where = f"task.stages[{i}].num_steps"
            require(stage.num_steps % log_every == 0, where, expected, stage.num_steps, cure)
        cure = "Give the last stage a patience."
        require(self.train.patience is None, "train.patience", "None with stages", self.train.patience, cure)

    def _check_optimizer(self) -> None:
        if isinstance(self.optimizer, LBFGS):
            parts = (self.task,) if isinstance(self.task, Forecast) else self.task.stages
            sizes = [part.batch_size for part in parts if part.batch_size is not None]
            came = sizes[0] if sizes else self.train.accumulate
            cure = "Choose a batch_size of None and --train.accumulate 1, or another optimizer."
            is_full = not sizes and self.train.accumulate == 1
            require(is_full, "optimizer, task.batch_size", "full batches with L-BFGS", came, cure)
            came = [name for name in ("jacobian", "end_time_width") if getattr(self.regularize, name) > 0]
            cure = "Leave them out, or choose another optimizer."
            require(not came, "optimizer, regularize", "a loss without chance in it with L-BFGS", came, cure)
            network = self.field.residual if isinstance(self.field, HybridLotkaVolterra) else self.field
            cure = "Choose a dropout of 0, or another optimizer."
            is_sure = network.dropout == 0
            require(
                is_sure, "optimizer, field.dropout", "a loss without chance in it with L-BFGS", network.dropout, cure
            )
        warmup, num_steps = self.schedule.warmup_steps, self.num_steps
        expected = f"fewer than the {num_steps} steps of the run"
        require(warmup < num_steps, "schedule.warmup_steps", expected, warmup, "A twentieth of all steps is usual.")
