"""Data on the host: small historical sets, readers for standard formats, simulated ones, and what smooths them."""

from node_jax.data.graphs import complete_graph, grid_graph, join_graphs, random_graph, ring_graph, scale_free_graph
from node_jax.data.hare_lynx import load_hare_lynx
from node_jax.data.labelled import LabelledPoints, LabelledSplits, draw_concentric_spheres, load_digits, split_labelled
from node_jax.data.ragged import RaggedBatch, buckets, ragged
from node_jax.data.series import TimeSeries, read_csv_series
from node_jax.data.smoothing import Smoothed, smooth
from node_jax.data.synthetic import simulate
from node_jax.data.trajectories import Trajectories, as_trajectories

__all__ = [
    "LabelledPoints",
    "LabelledSplits",
    "RaggedBatch",
    "Smoothed",
    "TimeSeries",
    "Trajectories",
    "as_trajectories",
    "buckets",
    "complete_graph",
    "draw_concentric_spheres",
    "grid_graph",
    "join_graphs",
    "load_digits",
    "load_hare_lynx",
    "ragged",
    "random_graph",
    "read_csv_series",
    "ring_graph",
    "scale_free_graph",
    "simulate",
    "smooth",
    "split_labelled",
]
