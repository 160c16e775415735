"""A crash test: are the intervals of a motion of second order right?

Question: Of 133 readings of the acceleration of a dummy's head (Silverman 1985), a tenth is held out in each of ten
    folds. How near does an ensemble of five motions of second order, with a noise that changes in time, come to these,
    and do its intervals of 50 and 90 % hold as many as they should, beside a smoothing spline and a Gaussian process?
Expected: errors alike, near 23 g, which is the noise. The plain baselines, which know one noise for all times, hold too
    many readings early and late, and too few in the middle, and lose in likelihood; the intervals of the ensemble are
    somewhat too narrow.
Cost: about five minutes on 2 CPU cores; one with --quick.
Command: python -m experiments.physics.crash_test [--quick] [--record]

The fold of a run is its seed modulo ten; the members of an ensemble are the seeds with the same fold, and differ in
their initial weights. Nothing was chosen by the readings that are held out: width, scale of the initial weights and
number of steps are the better of six settings by the error at the fitted readings of the first fold.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import minimize

from experiments.benchmarks.report import Results, Table
from experiments.physics.command import run_study
from experiments.physics.runs import Trained, load, train_seeds
from node_jax.analysis import Ensemble
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.config.builders.data import load_crash_test
from node_jax.data import Readings, folds

_NUM_FOLDS = 10
_PARTS = {
    "all times": (0.0, 100.0),
    "before 14 ms": (0.0, 14.0),
    "14 to 40 ms": (14.0, 40.0),
    "after 40 ms": (40.0, 100.0),
}


@dataclass(frozen=True)
class Judged:
    """Normal distributions for readings that were held out, in g."""

    times: np.ndarray
    truth: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def row(self, name: str) -> tuple[object, ...]:
        """Error, likelihood, coverages and width, over all times and in parts."""
        error = self.truth - self.mean
        score = error / self.scale
        likelihood = np.mean(score**2 / 2 + np.log(self.scale) + 0.5 * np.log(2 * np.pi))
        cells: list[object] = [name, float(np.sqrt(np.mean(error**2))), float(likelihood)]
        for first, last in _PARTS.values():
            inside = (self.times >= first) & (self.times < last)
            shares = [np.mean(np.abs(score[inside]) <= NormalDist().inv_cdf((1 + s) / 2)) for s in (0.5, 0.9)]
            cells.append(" / ".join(f"{100 * share:.0f}" for share in shares))
        cells.append(float(np.mean(2 * NormalDist().inv_cdf(0.95) * self.scale)))
        return tuple(cells)


def together(parts: list[Judged]) -> Judged:
    """All folds as one."""
    columns = [[getattr(one, name) for one in parts] for name in ("times", "truth", "mean", "scale")]
    return Judged(*(np.concatenate(column) for column in columns))


def ensemble_of(members: list[Trained]) -> Judged:
    """The mixture of the members of one fold as one normal distribution."""
    ensemble = Ensemble(tuple(one.task.predict(one.model) for one in members))
    first = ensemble.members[0]
    return Judged(first.times, first.truth[:, 0], ensemble.mean[:, 0], ensemble.scale[:, 0])


def spline(fitted: Readings, asked: Readings) -> Judged:
    """A cubic smoothing spline chosen by generalized cross-validation; its noise is that of its residuals."""
    times, rows, counts = np.unique(fitted.times, return_inverse=True, return_counts=True)
    means = np.bincount(rows, fitted.values) / counts
    curve = make_smoothing_spline(times, means, w=counts.astype(float))
    noise = np.std(fitted.values - curve(fitted.times))
    return Judged(asked.times, asked.values, curve(asked.times), np.full(len(asked.times), noise))


def gaussian_process(fitted: Readings, asked: Readings) -> Judged:
    """A Gaussian process with a squared exponential kernel and one noise, by maximum likelihood."""
    unit = fitted.values.std()
    values = fitted.values / unit

    def kernel(log_parameters: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        size, length, _ = np.exp(log_parameters)
        return size**2 * np.exp(-0.5 * ((a[:, None] - b[None]) / length) ** 2)

    def factor(log_parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = np.exp(log_parameters[2]) ** 2 + 1e-8
        matrix = kernel(log_parameters, fitted.times, fitted.times) + noise * np.eye(len(values))
        lower = np.linalg.cholesky(matrix)
        return lower, np.linalg.solve(lower, values)

    def loss(log_parameters: np.ndarray) -> float:
        lower, white = factor(log_parameters)
        return float(0.5 * white @ white + np.log(np.diag(lower)).sum())

    best = minimize(loss, np.log([1.0, 5.0, 0.4]), method="Nelder-Mead").x
    lower, white = factor(best)
    across = np.linalg.solve(lower, kernel(best, fitted.times, asked.times))
    variance = np.exp(best[0]) ** 2 + np.exp(best[2]) ** 2 - (across**2).sum(axis=0)
    return Judged(asked.times, asked.values, unit * (across.T @ white), unit * np.sqrt(variance))


def study(is_quick: bool, folder: Path) -> Results:
    """Train all folds, judge, draw."""
    num_members = 2 if is_quick else 5
    trained = train_seeds(load("crash_test"), num_members * _NUM_FOLDS, is_quick)
    members = [trained[fold::_NUM_FOLDS] for fold in range(_NUM_FOLDS)]
    readings = load_crash_test()
    fold_of = folds(len(readings.times), _NUM_FOLDS)
    halves = [(readings.at(fold_of != fold), readings.at(fold_of == fold)) for fold in range(_NUM_FOLDS)]
    judged = {
        f"second order, {num_members} members": together([ensemble_of(fold) for fold in members]),
        "second order, one member": together([ensemble_of_one(fold[0]) for fold in members]),
        "smoothing spline, one noise": together([spline(*half) for half in halves]),
        "Gaussian process, one noise": together([gaussian_process(*half) for half in halves]),
    }
    draw(members[0], halves[0], folder / "crash_test.png")
    columns = (
        "fit",
        "RMSE [g]",
        "-log likelihood",
        *(f"{part}: in 50 / 90 % [%]" for part in _PARTS),
        "90 % width [g]",
    )
    caption = f"{len(judged['smoothing spline, one noise'].times)} readings, each held out once in {_NUM_FOLDS} folds"
    return Results(
        "crash_test",
        "Are the intervals of a motion of second order right?",
        [Table(caption, columns, [one.row(name) for name, one in judged.items()])],
        notes=[
            "With 133 readings a coverage of 90 % has a standard error of 2.6 %, one of 50 % of 4.3 %.",
            "The acceleration reads time, so that the field is a flexible prior for a curve and no law of the crash.",
        ],
        is_quick=is_quick,
    )


def ensemble_of_one(member: Trained) -> Judged:
    """One member alone."""
    one = member.task.predict(member.model)
    return Judged(one.times, one.truth[:, 0], one.values[:, 0], one.noise[:, 0])


def draw(members: list[Trained], halves: tuple[Readings, Readings], path: Path) -> None:
    """The ensemble and the Gaussian process of the first fold with their 50 and 90 % intervals."""
    figure, axes = new_figure(1, 2, (12, 4.2))
    fitted, held = halves
    task = members[0].task
    unit_t, origin, unit = task.units
    grid = task.readings.times[0] + unit_t * np.asarray(task.times, float)
    solved = [one.task.solve(one.model, task.times) for one in members]
    means = np.stack([origin + unit * np.asarray(solution.ys[:, 0], float) for solution, _ in solved])
    noise = np.stack([unit * np.asarray(scale, float) for _, scale in solved])
    scale = np.sqrt(np.mean(noise**2, axis=0) + means.std(axis=0, ddof=1) ** 2)
    process = gaussian_process(fitted, Readings(grid, np.zeros_like(grid), "grid"))
    shown = (
        (axes[0, 0], f"second order, {len(members)} members", grid, means.mean(axis=0), scale, MODEL),
        (axes[0, 1], "Gaussian process, one noise", grid, process.mean, process.scale, OTHERS[0]),
    )
    for member in means:
        axes[0, 0].plot(grid, member, color="#777777", linewidth=0.6)
    for one, title, times, mean, width, colour in shown:
        for share, alpha in ((0.9, 0.15), (0.5, 0.25)):
            half = NormalDist().inv_cdf((1 + share) / 2) * width
            one.fill_between(
                times, mean - half, mean + half, color=colour, alpha=alpha, linewidth=0, label=f"{share:.0%}"
            )
        one.plot(times, mean, color=colour, linewidth=1.6, label="mean")
        one.plot(fitted.times, fitted.values, ".", color=DATA, markersize=4, label="fitted")
        one.plot(held.times, held.values, "o", color=DATA, markerfacecolor="#FFD166", markersize=6, label="held out")
        one.set(title=title, xlabel="time [ms]", ylim=(-220, 150))
        dress(one)
    axes[0, 0].set_ylabel("head acceleration [g]")
    axes[0, 0].legend(frameon=False, fontsize=8, ncols=2, loc="lower right")
    save_figure(figure, path)


if __name__ == "__main__":
    run_study("crash_test", __doc__, study)
