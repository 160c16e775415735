"""Predictive distributions of subjects, and what they are worth."""

from dataclasses import dataclass

import numpy as np

from node_jax.data import Subjects


@dataclass(frozen=True, eq=False)
class Predictive:
    """Draws of measurements of subjects.

    Arguments:
        times: shape (subject, time).
        typical: shape (subject, time), the prediction at the most likely random effects, without an error.
        predictions: shape (subject, draw, time), with uncertain random effects, without an error.
        scales: shape (subject, draw, time), the standard deviation of the error of each.
        draws: shape (subject, draw, time), predictions with an error.
    """

    times: np.ndarray
    typical: np.ndarray
    predictions: np.ndarray
    scales: np.ndarray
    draws: np.ndarray

    def interval(self, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Median, lower and upper end of the central interval that should hold `share`, each (subject, time)."""
        low, middle, high = np.quantile(self.draws, [(1 - share) / 2, 0.5, (1 + share) / 2], axis=1)
        return middle, low, high


def each_sample(found: Predictive, truth: Subjects) -> dict[str, np.ndarray]:
    """What is found at each measured sample.

    Arguments:
        found: predictions at the times of `truth`.
        truth: the measurements.

    Returns:
        By name, each of shape (sample,): `subject`, its number; `time`, `value` and `median`; `log_density` of the
        value, averaged over the draws of random effects; `rank` of the value among the draws, in (0, 1). Of a censored
        value the density is the probability of what lies below its limit, and value and rank are NaN.
    """
    subject, row = np.nonzero(truth.mask)
    value = truth.values[subject, row]
    predictions, scales, draws = (x[subject, :, row] for x in (found.predictions, found.scales, found.draws))
    is_censored = np.zeros(len(value), bool)
    if truth.is_censored is not None:
        is_censored = truth.is_censored[subject, row]
    exponents = -0.5 * ((value[:, None] - predictions) / scales) ** 2 - np.log(scales * np.sqrt(2 * np.pi))
    largest = exponents.max(axis=1)
    density = largest + np.log(np.mean(np.exp(exponents - largest[:, None]), axis=1))
    rank = (np.sum(draws < value[:, None], axis=1) + 0.5) / (draws.shape[1] + 1)
    return {
        "subject": subject,
        "time": truth.times[subject, row],
        "value": np.where(is_censored, np.nan, value),
        "median": np.median(draws, axis=1),
        "log_density": np.where(is_censored, np.log(rank), density),
        "rank": np.where(is_censored, np.nan, rank),
    }


def score(found: Predictive, truth: Subjects) -> dict[str, float]:
    """Means over the measured samples: `samples`, `rmse` of the median, `log_density`, `coverage_50`, `coverage_90`.

    Arguments:
        found, truth: as for `each_sample`.
    """
    each = each_sample(found, truth)
    distance = np.abs(each["rank"] - 0.5)[np.isfinite(each["rank"])]
    return {
        "samples": float(len(each["value"])),
        "rmse": float(np.sqrt(np.nanmean((each["value"] - each["median"]) ** 2))),
        "log_density": float(np.mean(each["log_density"])),
        "coverage_50": float(np.mean(distance <= 0.25)),
        "coverage_90": float(np.mean(distance <= 0.45)),
    }
