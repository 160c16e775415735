"""State, step, loop, checkpoints and metrics; knows tasks by their base class only."""

from node_jax.train.checkpoint import Checkpoints
from node_jax.train.loop import FitSettings, fit, load_best
from node_jax.train.metrics import MetricsFile, read_metrics
from node_jax.train.report import write_report
from node_jax.train.run_directory import RunDirectory

__all__ = [
    "Checkpoints",
    "FitSettings",
    "MetricsFile",
    "RunDirectory",
    "fit",
    "load_best",
    "read_metrics",
    "write_report",
]
