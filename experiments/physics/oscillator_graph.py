"""Does a graph neural ODE learn a law that holds on other graphs?

Question: Fitted to noisy trajectories of three random graphs of five oscillators each, how well do four fields predict
    new starts on these graphs, and graphs of another size and topology: messages between neighbours, a mean-field
    coupling, no coupling, and a network for the flattened state?
Expected: relative errors of the graph neural ODE, over the times that were trained on, of a third on the graphs of
    training from new starts, a fifth on a ring and a half on a grid and a random graph of 30 nodes: the law carries
    over, and is worst where nodes have more neighbours than it has seen, about 1 on scale-free graphs. The others are
    above 1 everywhere. The network for the flattened state has no other graph: its input is the states of the training
    graphs.
Cost: eight minutes on 2 CPU cores; two with --quick.
Command: python -m experiments.physics.oscillator_graph [--quick] [--record]

No figure is published for this system; the comparison is that of Poli et al. (2019, arXiv:1911.07532), who set graph
neural ODEs beside models that know no graph, and of Battaglia et al. (2016, arXiv:1612.00222), who tested learned
interactions on more bodies than were trained on. The settings were chosen by the validation loss of seed 0 on the
training graphs; data and updates were then cut to what two cores do in minutes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import node_jax as nj
from experiments.benchmarks.report import Results, Table
from experiments.physics.command import run_study
from experiments.physics.figures import draw_seeds, legend_above
from experiments.physics.runs import Trained, load, mean_and_spread, train_seeds
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure
from node_jax.config import GraphMLPField, MLPField, OscillatorNetworkData, Run
from node_jax.config.builders.graphs import SPREAD, graph_of, uncoupled
from node_jax.tasks import TrajectoryModel

_NAME = "oscillator_graph"
_DURATION, _ROWS, _STARTS = 20.0, 201, 16
_LOST = 10.0
"""An error that is no forecast any more."""
_COLOURS = {"graph": MODEL, "mean field": OTHERS[2], "no coupling": OTHERS[1], "flattened state": OTHERS[0]}


@dataclass(frozen=True, eq=False)
class Test:
    """Trajectories on a graph, without noise."""

    graph: nj.fields.Graph
    times: np.ndarray
    truth: np.ndarray
    """Shape (start, time, node, 2)."""


def make_test(graph: nj.fields.Graph, seed: int) -> Test:
    """Trajectories from starts as those that were trained on, for twice as long."""
    times, num_nodes = np.linspace(0.0, _DURATION, _ROWS), graph.num_nodes
    starts = SPREAD * np.random.default_rng(10_000 + seed).standard_normal((_STARTS, 2 * num_nodes))
    field = nj.fields.FlatGraphField(nj.fields.OscillatorNetwork(graph), dim=2)
    truth = nj.data.simulate(field, starts, times).truth
    assert truth is not None
    return Test(graph, times, truth.reshape(_STARTS, _ROWS, num_nodes, 2))


def make_tests(run: Run) -> dict[str, Test]:
    """The training graphs of a run from new starts, and graphs that no run has seen."""
    assert isinstance(run.data, OscillatorNetworkData)
    graphs = {
        "training graphs, new starts": graph_of(run.data, run.seed),
        "random, 30 nodes": nj.data.random_graph(30, run.data.mean_degree, seed=1000 + run.seed),
        "ring, 30 nodes": nj.data.ring_graph(30),
        "grid, 5 by 6": nj.data.grid_graph(5, 6),
        "scale-free, 30 nodes": nj.data.scale_free_graph(30, 2, seed=1000 + run.seed),
    }
    return {name: make_test(graph, run.seed) for name, graph in graphs.items()}


def predict(model: TrajectoryModel, edges: str, test: Test) -> np.ndarray | None:
    """The states that a model gives on a graph, shape (start, time, node, 2); `None` where it has no such field."""
    field, y0s = model.forecaster.field, jnp.asarray(test.truth[:, 0], float)
    if isinstance(field, nj.fields.FlatGraphField):
        graph = test.graph
        if edges == "none":
            graph = uncoupled(graph.num_nodes)
        elif edges == "mean-field" and graph.num_nodes != field.field.graph.num_nodes:
            graph = nj.data.complete_graph(graph.num_nodes)
        elif edges == "mean-field":
            graph = field.field.graph
        return _solve(eqx.tree_at(lambda f: f.graph, field.field, graph), y0s, test.times)
    if y0s[0].size != field.dim:
        return None
    flat = _solve(field, y0s.reshape(len(y0s), -1), test.times)
    return flat.reshape(test.truth.shape)


def _solve(field: Any, y0s: jax.Array, times: np.ndarray) -> np.ndarray:
    integrator = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(1), max_steps=len(times))
    return np.asarray(_compiled(integrator, field, y0s, jnp.asarray(times, float)), float)


@eqx.filter_jit
def _compiled(integrator: nj.Integrator, field: Any, y0s: jax.Array, ts: jax.Array) -> jax.Array:
    return jax.vmap(lambda y0: integrator(field, y0, ts).ys)(y0s)


def errors_over_time(found: np.ndarray | None, truth: np.ndarray) -> np.ndarray:
    """Root mean square error at each time, relative to that of the truth over all times; infinite after a blow-up."""
    if found is None:
        return np.full(truth.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.sqrt(np.mean((found - truth) ** 2, axis=(0, 2, 3)) / np.mean(truth**2))
    return np.where(np.isfinite(errors), errors, np.inf)


def study(is_quick: bool, folder: Path) -> Results:
    """Train all models; errors on all graphs."""
    num_seeds, run = 2 if is_quick else 5, load(_NAME)
    assert isinstance(run.field, GraphMLPField)
    fields = {
        "graph": run.field,
        "mean field": replace(run.field, edges="mean-field"),
        "no coupling": replace(run.field, edges="none"),
        "flattened state": MLPField(width=128, depth=2, activation="silu", final_scale=1.0),
    }
    runs = {
        name: train_seeds(replace(run, name=f"{_NAME}_{name.replace(' ', '_')}", field=field), num_seeds, is_quick)
        for name, field in fields.items()
    }
    tests = [make_tests(one.run) for one in runs["graph"]]
    curves: dict[str, dict[str, np.ndarray]] = {}
    for name, found in runs.items():
        edges = getattr(fields[name], "edges", "")
        curves[name] = {
            place: np.array(
                [
                    errors_over_time(predict(one.model, edges, test[place]), test[place].truth)
                    for one, test in zip(found, tests, strict=True)
                ]
            )
            for place in tests[0]
        }
    draw_errors(tests[0], curves, folder / f"{_NAME}.png")
    draw_paths(tests[0]["ring, 30 nodes"], runs, fields, folder / f"{_NAME}_paths.png")
    data = {name: {place: _means(errors) for place, errors in found.items()} for name, found in curves.items()}
    return Results(
        _NAME,
        "Does a graph neural ODE learn a law that holds on other graphs?",
        _tables(curves, runs, tests[0]),
        notes=[
            "errors: root mean square over nodes, starts and times, relative to the size of the truth; 1 is what a "
            "prediction of rest would have",
            "half: over the times that were trained on, up to 10; all: up to 20, never trained on",
            "the flattened state has no field for other graphs: its input are the states of the training graphs",
            "the scale-free graphs have nodes with more neighbours than any of the training graphs",
        ],
        data=data,
        is_quick=is_quick,
    )


def _means(errors: np.ndarray) -> list[float]:
    """Each seed's error over the first half of the times."""
    return [float(np.sqrt(np.mean(row[: _ROWS // 2 + 1] ** 2))) for row in errors]


def _tables(
    curves: dict[str, dict[str, np.ndarray]], runs: dict[str, list[Trained]], tests: dict[str, Test]
) -> list[Table]:
    def cell(errors: np.ndarray) -> str:
        if np.isnan(errors).all():
            return "has no field"
        means = np.sqrt(np.mean(errors**2, axis=1))
        num_lost = int((means > _LOST).sum())
        return mean_and_spread(means.tolist()) if num_lost == 0 else f"blows up for {num_lost} of {len(means)}"

    half = _ROWS // 2 + 1
    degrees = {place: int(np.bincount(np.asarray(test.graph.receivers)).max()) for place, test in tests.items()}
    tables = []
    for title, rows in (("half", slice(0, half)), ("all", slice(0, _ROWS))):
        columns = ("graph", "largest degree (seed 0)", *curves)
        cells = [(place, degrees[place], *(cell(curves[name][place][:, rows]) for name in curves)) for place in tests]
        caption = f"Relative errors over {title} of the times, mean ± standard deviation over seeds"
        tables.append(Table(caption, columns, cells))
    counts = [
        (
            name,
            _num_parameters(found[0].field),
            mean_and_spread([one.evaluation.metrics["validation_loss"] for one in found]),
        )
        for name, found in runs.items()
    ]
    tables.append(Table("The models", ("model", "parameters", "validation loss"), counts))
    return tables


def _num_parameters(field: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(field, eqx.is_inexact_array)))


def draw_errors(tests: dict[str, Test], curves: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Errors over time, a panel a graph, the range over seeds as a band; the times trained on are shaded."""
    figure, grid = new_figure(1, len(tests), (3.1 * len(tests), 3.6))
    for axes, (place, test) in zip(grid[0], tests.items(), strict=True):
        axes.axvspan(0, _DURATION / 2, color="#F2F2F2", zorder=0)
        for name, found in curves.items():
            errors = np.minimum(found[place], 1e3)
            if np.isnan(errors).all():
                continue
            draw_seeds(axes, test.times, errors, color=_COLOURS[name], label=name)
        axes.set_yscale("log")
        axes.set_ylim(1e-3, 5)
        axes.set_title(place, fontsize=10)
        axes.set_xlabel("time")
        dress(axes)
    grid[0, 0].set_ylabel("relative error")
    legend_above(figure, grid[0, 0], 4)
    save_figure(figure, path)


def draw_paths(test: Test, runs: dict[str, list[Trained]], fields: dict[str, Any], path: Path) -> None:
    """Displacements of four nodes on a graph that was not trained on."""
    figure, grid = new_figure(2, 2, (11, 5))
    for node, axes in enumerate(grid.ravel()):
        axes.axvspan(0, _DURATION / 2, color="#F2F2F2", zorder=0)
        axes.plot(test.times, test.truth[0, :, node, 0], color=DATA, linewidth=2.5, alpha=0.35, label="truth")
        for name in ("mean field", "no coupling", "graph"):
            found = predict(runs[name][0].model, fields[name].edges, test)
            assert found is not None
            width = 1.6 if name == "graph" else 0.9
            axes.plot(test.times, found[0, :, node, 0], color=_COLOURS[name], linewidth=width, label=name)
        low, high = test.truth[0, :, node, 0].min(), test.truth[0, :, node, 0].max()
        axes.set_ylim(low - 0.6, high + 0.6)
        axes.set_ylabel(f"x of node {node}")
        dress(axes)
    for axes in grid[-1]:
        axes.set_xlabel("time")
    legend_above(figure, grid[0, 0], 4)
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(_NAME, __doc__, study)
