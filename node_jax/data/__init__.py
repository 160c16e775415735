"""Data on the host: historical sets, those that packages carry, readers, simulated ones, and what smooths them."""

from node_jax.data.controls import Controls
from node_jax.data.derivatives import Derivatives, integrate_derivatives
from node_jax.data.graphs import complete_graph, grid_graph, join_graphs, random_graph, ring_graph, scale_free_graph
from node_jax.data.hare_lynx import load_hare_lynx
from node_jax.data.labelled import LabelledPoints, LabelledSplits, draw_concentric_spheres, load_digits, split_labelled
from node_jax.data.mcycle import load_mcycle
from node_jax.data.mechanics import MECHANICAL_SETUPS, MechanicalData, MechanicalSetup, simulate_mechanics
from node_jax.data.ragged import RaggedBatch, buckets, ragged
from node_jax.data.readings import Readings, folds
from node_jax.data.remifentanil import load_remifentanil
from node_jax.data.series import TimeSeries, read_csv_series
from node_jax.data.smoothing import Smoothed, smooth
from node_jax.data.store import fetch, load_table
from node_jax.data.subjects import Subjects
from node_jax.data.synthetic import simulate
from node_jax.data.theoph import load_theoph
from node_jax.data.trajectories import Trajectories, as_trajectories

__all__ = [
    "MECHANICAL_SETUPS",
    "Controls",
    "Derivatives",
    "LabelledPoints",
    "LabelledSplits",
    "MechanicalData",
    "MechanicalSetup",
    "RaggedBatch",
    "Readings",
    "Smoothed",
    "Subjects",
    "TimeSeries",
    "Trajectories",
    "as_trajectories",
    "buckets",
    "complete_graph",
    "draw_concentric_spheres",
    "fetch",
    "folds",
    "grid_graph",
    "integrate_derivatives",
    "join_graphs",
    "load_digits",
    "load_hare_lynx",
    "load_mcycle",
    "load_remifentanil",
    "load_table",
    "load_theoph",
    "ragged",
    "random_graph",
    "read_csv_series",
    "ring_graph",
    "scale_free_graph",
    "simulate",
    "simulate_mechanics",
    "smooth",
    "split_labelled",
]
