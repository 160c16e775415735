"""Looks at fields and solutions: plots."""

from node_jax.analysis.chaos import lyapunov_exponents, valid_times
from node_jax.analysis.plots import draw_fit, draw_forecast, draw_loss, draw_phase

__all__ = ["draw_fit", "draw_forecast", "draw_loss", "draw_phase", "lyapunov_exponents", "valid_times"]
