"""Looks at fields and solutions: plots."""

from node_jax.analysis.plots import draw_forecast, draw_phase
from node_jax.analysis.training import draw_inspection, draw_loss, draw_training

__all__ = ["draw_forecast", "draw_inspection", "draw_loss", "draw_phase", "draw_training"]
