"""Ensembles: the mean of several forecasts, their spread, and how often intervals hold the truth."""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one model says of data that it has not seen.

    Arguments:
        times: shape (time,).
        truth: shape (time, dim).
        values: shape (time, dim), the forecast.
        noise: shape (dim,), the scale of what the model left unexplained in the data that it was fitted to; or (time,
            dim), where it changes.
        names: one name a component.
        unit: of the values.
    """

    times: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    noise: np.ndarray
    names: tuple[str, ...]
    unit: str


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A deep ensemble as one normal distribution at each time.

        mean = mean_k μ_k,        scale² = mean_k σ_k² + var_k μ_k

    with the forecasts μ_k and noise scales σ_k of the members.

    Reference: Lakshminarayanan, Pritzel & Blundell (2017), arXiv:1612.01474.
    """

    members: tuple[Prediction, ...]

    @property
    def is_of_same_truth(self) -> bool:
        """Whether all members forecast the same data; else their mean is a forecast of nothing."""
        first = self.members[0]
        return all(
            np.array_equal(member.times, first.times) and np.array_equal(member.truth, first.truth)
            for member in self.members[1:]
        )

    @property
    def mean(self) -> np.ndarray:
        """Shape (time, dim)."""
        return np.mean([member.values for member in self.members], axis=0)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the members' forecasts, shape (time, dim)."""
        return np.std([member.values for member in self.members], axis=0, ddof=1)

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation of the whole, noise included, shape (time, dim)."""
        noise = np.mean([member.noise**2 for member in self.members], axis=0)
        return np.sqrt(noise + self.spread**2)

    def coverage(self, share: float, *, with_noise: bool = True) -> float:
        """How much of the truth lies in the central interval that should hold `share` of it."""
        half = NormalDist().inv_cdf((1 + share) / 2) * (self.scale if with_noise else self.spread)
        return float(np.mean(np.abs(self.members[0].truth - self.mean) <= half))

    def metrics(self) -> dict[str, float]:
        """Errors of the mean and of the members, spread, and coverages of 50 and 90 % intervals."""
        truth = self.members[0].truth
        each = [float(np.sqrt(np.mean((member.values - truth) ** 2))) for member in self.members]
        found = {
            "rmse_of_mean": float(np.sqrt(np.mean((self.mean - truth) ** 2))),
            "mean_rmse_of_members": float(np.mean(each)),
            "spread": float(np.sqrt(np.mean(self.spread**2))),
        }
        for share in (0.5, 0.9):
            found[f"coverage_{share:.0%}"] = self.coverage(share)
            found[f"coverage_{share:.0%}_without_noise"] = self.coverage(share, with_noise=False)
        return found


def draw_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Members, mean and the 50 and 90 % intervals over time, one panel a component.

    Arguments:
        ensemble: what to draw.
        path: where the PNG goes.
    """
    first = ensemble.members[0]
    figure, grid = new_figure(len(first.names), 1, (9, 0.8 + 2.6 * len(first.names)))
    for i, axes in enumerate(grid[:, 0]):
        mean, scale = ensemble.mean[:, i], ensemble.scale[:, i]
        for share, alpha in ((0.9, 0.15), (0.5, 0.25)):
            half = NormalDist().inv_cdf((1 + share) / 2) * scale
            low, high = mean - half, mean + half
            axes.fill_between(first.times, low, high, color=MODEL, alpha=alpha, linewidth=0, label=f"{share:.0%}")
        for number, member in enumerate(ensemble.members):
            label = "members" if number == 0 else None
            axes.plot(first.times, member.values[:, i], color=OTHERS[1], linewidth=0.7, alpha=0.8, label=label)
        axes.plot(first.times, mean, color=MODEL, linewidth=1.6, label="mean")
        axes.plot(first.times, first.truth[:, i], ".", color=DATA, markersize=5, label="truth")
        axes.set_ylabel(f"{first.names[i]} [{first.unit}]")
        dress(axes)
    grid[-1, 0].set_xlabel("time")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)
