"""Looks at fields and solutions: growth, plots."""

from node_jax.analysis.growth import Growth, measure_growth
from node_jax.analysis.plots import draw_forecast, draw_growth, draw_loss, draw_phase

__all__ = ["Growth", "draw_forecast", "draw_growth", "draw_loss", "draw_phase", "measure_growth"]
