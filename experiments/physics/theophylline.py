"""Theophylline: are the estimates those that were published, do the intervals hold, and does a network help?

Question: (a) Are the fixed effects of one compartment with first-order absorption, fitted to all 12 people by Laplace's
    approximation, within 2 % of those of R's nlme? (b) Do 90 % intervals hold 80 to 97 % of samples that were held out
    within people, and of people held out? (c) Does a clearance that a network corrects predict them better?
Expected: (a) yes for ka, ke and CL, (b) yes for samples, (c) no gain that 12 people could show.
Cost: some ten minutes on 2 CPU cores, half of it compilation; one or two with --quick.
Command: python -m experiments.physics.theophylline [--quick] [--record]

What was published: Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, section 8.2, which the script ch08.R
of the R package nlme repeats: fm3Theo.nlme has independent random effects on lKa and lCl, fm1Theo.nlme correlated ones
on all three. nlme maximizes the likelihood of a linearized model (Lindstrom & Bates 1990), not the likelihood itself;
the maximum of that, by quadrature and the closed form of the solution, is computed here too.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.benchmarks.report import Results, Table
from experiments.physics.command import run_study
from experiments.physics.populations import (
    CHECKPOINTS,
    comparison,
    draw_clearance,
    named_parameters,
    standard_errors,
    train_folds,
)
from experiments.physics.runs import Trained, load, seconds, train_all
from experiments.physics.theophylline_quadrature import fit_by_quadrature

_NAME = "theophylline"
_FM3 = {
    "elimination": (-2.454704, 0.0525),
    "absorption": (0.465734, 0.1986),
    "clearance": (-3.227223, 0.0600),
}
"""Fixed effects of fm3Theo.nlme, logarithms, and their standard errors."""
_FM3_SCALES = {"sd absorption": 0.6439, "sd clearance": 0.1669, "sd additive": 0.7092}
_FM1 = {"elimination": -2.432671, "absorption": 0.451410, "clearance": -3.214452, "sd elimination": 0.131}
_FM1 |= {"corr elimination clearance": 0.995}
_CORRELATED_STEPS = 1000
"""A correlation near 1 is the end of a long valley."""
_SHORT = {"elimination": "lKe", "absorption": "lKa", "clearance": "lCl"}


def study(is_quick: bool, folder: Path) -> Results:
    """Train, tabulate, draw."""
    run, hybrid_run = load("theophylline"), load("theophylline_hybrid")
    (whole,) = train_all([run], is_quick)
    shutil.copy(whole.directory / "observed.png", folder / f"{_NAME}_observed.png")
    every = replace(run.task, random=("elimination", "absorption", "clearance"), is_correlated=True)
    longer = replace(run.train, num_steps=_CORRELATED_STEPS)
    (correlated,) = train_all([replace(run, name="theophylline_correlated", task=every, train=longer)], is_quick)
    num_folds = hybrid_run.data.num_folds
    plain_run = replace(hybrid_run, name="theophylline_plain", field=replace(hybrid_run.field, correction=None))
    plain = train_folds(plain_run, num_folds, is_quick)
    hybrid = train_folds(hybrid_run, num_folds, is_quick)
    shutil.copy(plain[0].directory / "subjects.png", folder / f"{_NAME}.png")
    levels = np.geomspace(0.3, 12.0, 60)
    people = {f"{weight} kg": np.array([np.log(weight / 70)]) for weight in (55, 70, 85)}
    draw_clearance(hybrid, levels, people, folder / f"{_NAME}_clearance.png")
    tables = [
        _estimates(whole),
        _correlated(correlated),
        *comparison(plain, hybrid, "mg/l"),
    ]
    notes = [
        "Rows of the first tables are logarithms, with standard deviations of random effects and of the error in mg/l. "
        "The column exact likelihood is the maximum by quadrature over a grid of random effects, with Bateman's "
        "function for the solution: it uses neither an ODE solver nor Laplace's method. The last column compares "
        "estimates in natural units (1/h, l/h/kg) with those of nlme, which maximizes the likelihood of a linearized "
        "model.",
        "All 132 samples are fitted for the estimates. For predictions the people are dealt into 4 folds; of the 9 "
        "that are fitted a fifth of the samples is held out, and the other 3 are new: they are predicted from dose and "
        "weight alone.",
        CHECKPOINTS,
        f"Training took {seconds(whole):.0f} s for the estimates and {np.mean([seconds(t) for t in hybrid]):.0f} s for "
        "a fold of the hybrid, compilation included, on a machine that was shared.",
    ]
    return Results(_NAME, __doc__.splitlines()[0], tables, notes, is_quick=is_quick)


def _estimates(trained: Trained) -> Table:
    named = named_parameters(trained)
    errors = standard_errors(trained.task, trained.model)
    exact, exact_likelihood = fit_by_quadrature(trained.task.data)
    rows = []
    for name, (published, error) in _FM3.items():
        off = f"{100 * (np.exp(named[name] - published) - 1):+.2f} %"
        rows.append((_SHORT[name], named[name], errors[name], exact[name], published, error, off))
    for name, published in _FM3_SCALES.items():
        off = f"{100 * (named[name] / published - 1):+.2f} %"
        rows.append((name, named[name], None, exact[name], published, None, off))
    rows.append(("log likelihood", _log_likelihood(trained), None, exact_likelihood, None, None, None))
    columns = (
        "parameter",
        "Laplace",
        "its standard error",
        "exact likelihood",
        "nlme, fm3Theo.nlme",
        "its standard error",
        "Laplace against nlme, natural units",
    )
    return Table("Independent random effects on lKa and lCl, all data", columns, _as_text(rows))


def _correlated(trained: Trained) -> Table:
    named = named_parameters(trained)
    rows = []
    for name, published in _FM1.items():
        off = np.exp(named[name] - published) if name in _FM3 else named[name] / published
        rows.append((_SHORT.get(name, name), named[name], published, f"{100 * (off - 1):+.2f} %"))
    rows.append(("log likelihood", _log_likelihood(trained), None, None))
    columns = ("parameter", "Laplace", "nlme, fm1Theo.nlme", "Laplace against nlme, natural units")
    return Table("Correlated random effects on all three", columns, _as_text(rows))


def _log_likelihood(trained: Trained) -> float:
    return float(-trained.rows[-1]["loss"] * trained.task.data.mask.sum())


def _as_text(rows: list[tuple]) -> list[tuple]:
    """Numbers with four decimals: three figures would hide the differences."""
    return [tuple(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row) for row in rows]


if __name__ == "__main__":
    run_study(_NAME, __doc__, study)
