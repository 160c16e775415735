"""Theophylline: are the estimates those that were published, do the intervals hold, and does a network help?

Question: (a) Are the fixed effects of one compartment with first-order absorption, fitted to all 12 people by Laplace's
    approximation, within 2 % of those of R's nlme? (b) Do 90 % intervals hold 80 to 97 % of samples that were held out
    within people, and of people held out? (c) Does a clearance that a network corrects predict them better?
Expected: (a) yes, (b) yes for samples, (c) no gain that 12 people could show.
Cost: some ten minutes on 2 CPU cores, half of it compilation; one or two with --quick.
Command: python -m experiments.physics.theophylline [--quick] [--record]

What was published: Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, section 8.2, which the script ch08.R
of the R package nlme repeats: fm3Theo.nlme has independent random effects on lKa and lCl, fm1Theo.nlme correlated ones
on all three.
"""

import argparse
import shutil
from dataclasses import replace

import numpy as np

from experiments.benchmarks.report import Results, Table, show, write
from experiments.physics.populations import (
    difference_table,
    draw_clearance,
    pooled,
    prediction_table,
    standard_errors,
    train_folds,
)
from experiments.physics.runs import Trained, keep, load, results_folder, seconds, train_all

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
_SHORT = {"elimination": "lKe", "absorption": "lKa", "clearance": "lCl"}


def main() -> None:
    """Train, tabulate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten steps of each run, to see that it works")
    parser.add_argument("--record", action="store_true", help="keep tables and figures in docs/results/physics")
    options = parser.parse_args()
    run, hybrid_run = load("theophylline"), load("theophylline_hybrid")
    folder = results_folder(_NAME)
    (whole,) = train_all([run], options.quick)
    shutil.copy(whole.directory / "observed.png", folder / f"{_NAME}_observed.png")
    every = replace(run.task, random=("elimination", "absorption", "clearance"), is_correlated=True)
    (correlated,) = train_all([replace(run, name="theophylline_correlated", task=every)], options.quick)
    num_folds = hybrid_run.data.num_folds
    plain_run = replace(hybrid_run, name="theophylline_plain", field=replace(hybrid_run.field, correction=None))
    plain = train_folds(plain_run, num_folds, options.quick)
    hybrid = train_folds(hybrid_run, num_folds, options.quick)
    shutil.copy(plain[0].directory / "subjects.png", folder / f"{_NAME}.png")
    levels = np.geomspace(0.3, 12.0, 60)
    people = {f"{weight} kg": np.array([np.log(weight / 70)]) for weight in (55, 70, 85)}
    draw_clearance(hybrid, levels, people, folder / f"{_NAME}_clearance.png")
    sides = {"plain": pooled(plain), "hybrid": pooled(hybrid)}
    tables = [
        _estimates(whole),
        _correlated(correlated),
        prediction_table(sides, "mg/l"),
        difference_table(sides["plain"], sides["hybrid"], "mg/l"),
    ]
    notes = [
        "All 132 samples are fitted for the estimates. For predictions the people are dealt into 4 folds; of the 9 "
        "that are fitted a fifth of the samples is held out, and the other 3 are new: they are predicted from dose and "
        "weight alone.",
        f"Training took {seconds(whole):.0f} s for the estimates and {np.mean([seconds(t) for t in hybrid]):.0f} s for "
        "a fold of the hybrid, compilation included, on a machine that was shared.",
    ]
    results = Results(_NAME, __doc__.splitlines()[0], tables, notes, is_quick=options.quick)
    path = write(results, folder)
    show(results)
    if options.record:
        keep(path)


def _estimates(trained: Trained) -> Table:
    named = {name: float(value) for name, value in trained.model.named().items()}
    errors = standard_errors(trained.task, trained.model)
    rows = []
    for name, (published, error) in _FM3.items():
        off = f"{100 * (named[name] - published) / abs(published):+.2f} %"
        rows.append((_SHORT[name], named[name], errors[name], published, error, off))
    for name, published in _FM3_SCALES.items():
        off = f"{100 * (named[name] - published) / published:+.2f} %"
        rows.append((name, named[name], None, published, None, off))
    likelihood = -trained.rows[-1]["loss"] * trained.task.data.mask.sum()
    rows.append(("log likelihood", float(likelihood), None, None, None, None))
    columns = ("parameter", "here", "standard error", "nlme, fm3Theo.nlme", "its standard error", "difference")
    return Table("Independent random effects on lKa and lCl, all data", columns, _as_text(rows))


def _correlated(trained: Trained) -> Table:
    named = {name: float(value) for name, value in trained.model.named().items()}
    rows = []
    for name, published in _FM1.items():
        off = f"{100 * (named[name] - published) / abs(published):+.2f} %"
        rows.append((_SHORT.get(name, name), named[name], published, off))
    likelihood = -trained.rows[-1]["loss"] * trained.task.data.mask.sum()
    rows.append(("log likelihood", float(likelihood), None, None))
    columns = ("parameter", "here", "nlme, fm1Theo.nlme", "difference")
    return Table("Correlated random effects on all three", columns, _as_text(rows))


def _as_text(rows: list[tuple]) -> list[tuple]:
    """Numbers with four decimals: three figures would hide the differences."""
    return [tuple(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row) for row in rows]


if __name__ == "__main__":
    main()
