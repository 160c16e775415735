"""Looks at fields and solutions: growth, ensembles, chaos, plots."""

from node_jax.analysis.chaos import lyapunov_exponents, valid_times
from node_jax.analysis.decisions import draw_confusion, draw_decision
from node_jax.analysis.ensemble import Ensemble, Prediction, draw_ensemble
from node_jax.analysis.fits import draw_fit
from node_jax.analysis.growth import Growth, measure_growth
from node_jax.analysis.growth_figure import draw_growth
from node_jax.analysis.plots import draw_forecast, draw_phase
from node_jax.analysis.training import draw_inspection, draw_loss, draw_training

__all__ = [
    "Ensemble",
    "Growth",
    "Prediction",
    "draw_confusion",
    "draw_decision",
    "draw_ensemble",
    "draw_fit",
    "draw_forecast",
    "draw_growth",
    "draw_inspection",
    "draw_loss",
    "draw_phase",
    "draw_training",
    "lyapunov_exponents",
    "measure_growth",
    "valid_times",
]
