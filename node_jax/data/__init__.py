"""Data on the host: historical sets, those that packages carry, readers, simulated ones, and what smooths them."""

from node_jax.data.controls import Controls
from node_jax.data.derivatives import Derivatives, integrate_derivatives
from node_jax.data.hare_lynx import load_hare_lynx
from node_jax.data.mcycle import load_mcycle
from node_jax.data.mechanics import MECHANICAL_SETUPS, MechanicalData, MechanicalSetup, simulate_mechanics
from node_jax.data.ragged import RaggedBatch, buckets, ragged
from node_jax.data.series import TimeSeries, read_csv_series
from node_jax.data.smoothing import Smoothed, smooth
from node_jax.data.store import fetch, load_table
from node_jax.data.synthetic import simulate
from node_jax.data.trajectories import Trajectories, as_trajectories

__all__ = [
    "MECHANICAL_SETUPS",
    "Controls",
    "Derivatives",
    "MechanicalData",
    "MechanicalSetup",
    "RaggedBatch",
    "Smoothed",
    "TimeSeries",
    "Trajectories",
    "as_trajectories",
    "buckets",
    "fetch",
    "integrate_derivatives",
    "load_hare_lynx",
    "load_mcycle",
    "load_table",
    "ragged",
    "read_csv_series",
    "simulate",
    "simulate_mechanics",
    "smooth",
]
