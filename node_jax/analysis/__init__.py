"""Looks at fields and solutions: growth, ensembles, chaos, plots."""

from node_jax.analysis.chaos import lyapunov_exponents, valid_times
from node_jax.analysis.conservation import Drift, draw_drift, measure_drift
from node_jax.analysis.decisions import draw_confusion, draw_decision
from node_jax.analysis.ensemble import Ensemble, Prediction, draw_ensemble
from node_jax.analysis.equilibria import Equilibrium, find_equilibria
from node_jax.analysis.fits import draw_fit
from node_jax.analysis.growth import Growth, measure_growth
from node_jax.analysis.growth_figure import draw_growth
from node_jax.analysis.identification import Identification, identify, named_parameters_of
from node_jax.analysis.plots import draw_forecast, draw_phase
from node_jax.analysis.population_figures import draw_observed, draw_subjects, subjects_shown
from node_jax.analysis.portrait import draw_correction, draw_phase_portrait
from node_jax.analysis.training import draw_inspection, draw_loss, draw_training

__all__ = [
    "Drift",
    "Ensemble",
    "Equilibrium",
    "Growth",
    "Identification",
    "Prediction",
    "draw_confusion",
    "draw_correction",
    "draw_decision",
    "draw_drift",
    "draw_ensemble",
    "draw_fit",
    "draw_forecast",
    "draw_growth",
    "draw_inspection",
    "draw_loss",
    "draw_observed",
    "draw_phase",
    "draw_phase_portrait",
    "draw_subjects",
    "draw_training",
    "find_equilibria",
    "identify",
    "lyapunov_exponents",
    "measure_drift",
    "measure_growth",
    "named_parameters_of",
    "subjects_shown",
    "valid_times",
]
