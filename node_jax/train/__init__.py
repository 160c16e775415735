"""State, step, loop, checkpoints and metrics; knows tasks by their base class only."""

from node_jax.train.checkpoint import CheckpointError, Checkpoints, differences
from node_jax.train.failure import Failure, describe
from node_jax.train.loop import fit, inspect_run, load_best
from node_jax.train.metrics import MetricsFile, read_metrics
from node_jax.train.programs import Programs
from node_jax.train.report import write_report
from node_jax.train.run_directory import RunDirectory
from node_jax.train.settings import FitSettings, Stage
from node_jax.train.several import Candidate, fit_several
from node_jax.train.step import StepSettings, make_advance, tighten_constraint, update_multiplier
from node_jax.train.trainer import TrainingError

__all__ = [
    "Candidate",
    "CheckpointError",
    "Checkpoints",
    "Failure",
    "FitSettings",
    "MetricsFile",
    "Programs",
    "RunDirectory",
    "Stage",
    "StepSettings",
    "TrainingError",
    "describe",
    "differences",
    "fit",
    "fit_several",
    "inspect_run",
    "load_best",
    "make_advance",
    "read_metrics",
    "tighten_constraint",
    "update_multiplier",
    "write_report",
]
