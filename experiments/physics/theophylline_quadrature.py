"""The likelihood of theophylline's one compartment without an ODE solver and without Laplace's method.

Concentrations are Bateman's function, and the random effects of lKa and lCl are integrated out on a grid: what the fits
of `experiments.physics.theophylline` approximate, computed in another way, in float64 by NumPy and SciPy.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from node_jax.data import Subjects

_NUM_NODES = 121
"""Of the grid in each random effect."""
_WIDTH = 5.5
"""Of the grid to each side, in standard deviations."""
_NAMES = ("elimination", "absorption", "clearance", "sd absorption", "sd clearance", "sd additive")
_START = (-2.45, 0.46, -3.22, np.log(0.64), np.log(0.17), np.log(0.7))


def minus_log_likelihood(theta: np.ndarray, subjects: Subjects) -> float:
    """-log p of all data.

    Arguments:
        theta: lKe, lKa, lCl, then logarithms of the standard deviations of lKa and lCl among people and of the error.
        subjects: theophylline.
    """
    l_ke, l_ka, l_cl, *scales = theta
    scale_ka, scale_cl, noise = np.exp(scales)
    z = np.linspace(-_WIDTH, _WIDTH, _NUM_NODES)
    ka = np.exp(l_ka + scale_ka * z)[:, None, None]
    cl = np.exp(l_cl + scale_cl * z)[None, :, None]
    log_weight = -0.5 * (z[:, None] ** 2 + z[None, :] ** 2) - np.log(2 * np.pi) + 2 * np.log(z[1] - z[0])
    ke, total = np.exp(l_ke), 0.0
    for times, values, amounts in zip(subjects.times, subjects.values, subjects.dose_amounts, strict=True):
        found = amounts[0] * ka * ke / (cl * (ka - ke)) * (np.exp(-ke * times) - np.exp(-ka * times))
        squares = np.sum(((values - found) / noise) ** 2, axis=-1)
        log_density = -0.5 * squares - len(times) * np.log(noise * np.sqrt(2 * np.pi))
        total -= logsumexp(log_density + log_weight)
    return float(total)


def fit_by_quadrature(subjects: Subjects) -> tuple[dict[str, float], float]:
    """The maximum likelihood estimates by name, and the log likelihood there."""
    found = minimize(minus_log_likelihood, _START, args=(subjects,), method="BFGS", options={"gtol": 1e-3})
    values = np.concatenate([found.x[:3], np.exp(found.x[3:])])
    return dict(zip(_NAMES, values.tolist(), strict=True)), -float(found.fun)
