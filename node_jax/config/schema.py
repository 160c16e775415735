"""What a run may say: frozen dataclasses of numbers, strings, tuples, and unions of such dataclasses.

Every field carries a line of help with its unit or range; the command line shows it. Checks that need one field or
several are in `__post_init__` and only ever raise; what a task or a field needs of the rest of its run is in its
`check`.
"""

from dataclasses import dataclass
from dataclasses import field as dataclass_field

from node_jax.config.data import Data, HareLynxData
from node_jax.config.fields import Field, MLPField
from node_jax.config.optimizers import LBFGS, AdamW, CosineSchedule, Optimizer, Schedule
from node_jax.config.regularize import Regularize
from node_jax.config.solver import RK4, Controller, DiffraxSolver, PIController, Solver, Tsit5
from node_jax.config.sweep import Sweep, expand
from node_jax.config.tasks import Task, Trajectory
from node_jax.config.train import Train
from node_jax.errors import UsageError, require


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
        self.task.check(self)
        self.field.check(self)
        self._check_optimizer()
        self._check_regularizers()
        if not self.sweep.is_single:
            expand(self, self.sweep)

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

    def _check_optimizer(self) -> None:
        if isinstance(self.optimizer, LBFGS):
            sizes = [size for size in self.task.batch_sizes() if size is not None]
            came = sizes[0] if sizes else self.train.accumulate
            cure = "Choose a batch_size of None and --train.accumulate 1, or another optimizer."
            is_full = not sizes and self.train.accumulate == 1
            require(is_full, "optimizer, task.batch_size", "full batches with L-BFGS", came, cure)
            came = [name for name in ("jacobian", "end_time_width") if getattr(self.regularize, name) > 0]
            cure = "Leave them out, or choose another optimizer."
            require(not came, "optimizer, regularize", "a loss without chance in it with L-BFGS", came, cure)
            dropout, cure = self.field.max_dropout, "Choose a dropout of 0, or another optimizer."
            is_sure = dropout == 0
            require(is_sure, "optimizer, field.dropout", "a loss without chance in it with L-BFGS", dropout, cure)
        warmup, num_steps = self.schedule.warmup_steps, self.num_steps
        expected = f"fewer than the {num_steps} steps of the run"
        require(warmup < num_steps, "schedule.warmup_steps", expected, warmup, "A twentieth of all steps is usual.")
