"""Do gradients explode over the depth of a neural ODE as they do over the layers of a residual network?

The same block, tanh between two matrices of width 16, is a layer of residual networks of 8 to 256 layers with weights
of their own, drawn as Glorot & Bengio (2010), and the field of neural ODEs over times 1 and 16: as it is, and within a
`BoundedField`. Beside them a `ContractiveField` of the same width. Each is measured at initialization and after
training to tell two half-moons in the plane apart (drawn by NumPy, 256 points, noise 0.1), by a linear function of its
last state. A point is lifted to the state by zeros. Measured: norm of the state, and norm of the gradient of the logit
for the state, relative to that at the end (of the cross-entropy the ratio is the same), over the share of the depth;
medians over 64 points and three seeds.

Expected: residual networks grow with their number of layers, and the factor 1/depth, which makes them Euler's method
of an ODE, stops that. So does an ODE over time 1, for the same reason. A plain field over a long time explodes too: the
logarithmic norm μ bounds it by exp(∫ μ). A bounded field bounds states and not gradients; a contractive one bounds
both, and gives up what a map that brings no two points apart cannot do.

Cost: about 8 minutes on two cores; `--quick`, 3.

    python -m experiments.growth [--quick] [--record]

Writes runs/growth/growth.png and growth.json; `--record` writes to docs/results/training/.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import node_jax as nj
from node_jax.types import Key

_ROOT = Path(__file__).parents[1]
DIM, WIDTH, NUM_POINTS, NUM_MEASURED = 16, 16, 256, 64
LAYERS, DURATIONS = (8, 16, 64, 256), (1.0, 16.0)
MEASURE = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(4))
NUM_TIMES = 33


def two_moons(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of two interleaved half circles with noise, shape (num, 2), centred, and their class 0 or 1."""
    random = np.random.default_rng(seed)
    angle, label = random.uniform(0.0, np.pi, num), np.arange(num) % 2
    upper, lower = (np.cos(angle), np.sin(angle)), (1 - np.cos(angle), 0.5 - np.sin(angle))
    points = np.where(label == 0, upper, lower).T + random.normal(0.0, 0.1, (num, 2)) - np.array([0.5, 0.25])
    return points.astype(np.float32), label.astype(np.float32)


class ResidualNetwork(eqx.Module):
    """y_{k+1} = y_k + scale (V_k σ(W_k y_k + b_k) + c_k), weights of all layers stacked."""

    layers: tuple[Any, Any, Any, Any]
    scale: float = eqx.field(static=True)
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(self, num_layers: int, *, scale: float = 1.0, activation: Any = jnp.tanh, key: Key) -> None:
        fields = [nj.fields.MLP(DIM, WIDTH, 1, key=each) for each in jax.random.split(key, num_layers)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields)
        self.layers = (stacked.weights[0], stacked.biases[0], stacked.weights[1], stacked.biases[1])
        self.scale, self.activation = scale, activation

    def states(self, y0: Any, nudges: Any = None) -> tuple[Any, Any]:
        """The last state and those before, for `nudges` added to the state before each layer, shape (layer, dim)."""

        def advance(y: Any, inputs: Any) -> tuple[Any, Any]:
            (w, b, v, c), nudge = inputs
            y = y if nudge is None else y + nudge
            return y + self.scale * (self.activation(y @ w.T + b) @ v.T + c), y

        return jax.lax.scan(advance, y0, (self.layers, nudges))

    def __call__(self, y0: Any) -> Any:
        """The last state."""
        return self.states(y0)[0]

    def measure(self, y0: Any, loss: Any) -> dict[str, Any]:
        """Norms of state and gradient before each layer and after the last."""

        def of(nudges: Any) -> tuple[Any, Any]:
            last, before = self.states(y0, nudges[:-1])
            last = last + nudges[-1]
            return loss(last), jnp.concatenate([before, last[None]])

        num_layers = self.layers[0].shape[0]
        gradients, states = jax.grad(of, has_aux=True)(jnp.zeros((num_layers + 1, DIM)))
        return {"state": jnp.linalg.norm(states, axis=1), "gradient": jnp.linalg.norm(gradients, axis=1)}


class Flow(eqx.Module):
    """y(duration) of dy/dt = field(t, y) from y(0)."""

    field: Any
    duration: float = eqx.field(static=True)

    def __call__(self, y0: Any) -> Any:
        """The last state, all points in one state."""
        return nj.odeint(self.field, y0, jnp.array([0.0, self.duration])).ys[-1]

    def measure(self, y0: Any, loss: Any) -> dict[str, Any]:
        """Norms of state and gradient, and the logarithmic norm, at evenly spaced times."""
        ts = jnp.linspace(0.0, self.duration, NUM_TIMES)
        growth = nj.analysis.measure_growth(self.field, y0, ts, loss=loss, integrator=MEASURE)
        return {"state": growth.state_norm, "gradient": growth.gradient_norm, "log_norm": growth.log_norm}


class Classifier(eqx.Module):
    """logit = head · body(point and zeros) + bias."""

    body: Any
    head: Any
    bias: Any

    def __init__(self, body: Any, key: Key) -> None:
        self.body = body
        self.head = jax.random.normal(key, (DIM,)) / DIM**0.5
        self.bias = jnp.zeros(())

    def read(self, y: Any) -> Any:
        """The logit of a last state."""
        return y @ self.head + self.bias

    def loss(self, points: Any, labels: Any) -> tuple[Any, Any]:
        """Mean cross-entropy, and the share of points told right."""
        logits = self.read(self.body(lift(points)))
        is_right = jnp.mean((logits > 0) == (labels > 0.5))
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels)), is_right


def lift(points: Any) -> Any:
    """Points of the plane as states: zeros behind."""
    return jnp.concatenate([points, jnp.zeros((*points.shape[:-1], DIM - 2))], axis=-1)


@dataclass(frozen=True)
class Subject:
    """What is measured: a name, how it is made from a key, and its kind."""

    name: str
    make: Callable[[Any], Any]
    is_flow: bool
    is_trained: bool = True


def subjects() -> list[Subject]:
    """Residual networks, and neural ODEs with three fields over two times."""

    def residual(num: int, **options: Any) -> Callable[[Any], Any]:
        return lambda key: ResidualNetwork(num, key=key, **options)

    def plain(key: Any) -> Any:
        return nj.fields.MLP(DIM, WIDTH, 1, activation=jnp.tanh, key=key)

    fields: dict[str, Callable[[Any], Any]] = {
        "MLP": plain,
        "bounded": lambda key: nj.fields.BoundedField(plain(key), decay=0.5, limit=2.0),
        "contractive": lambda key: nj.fields.ContractiveField(DIM, WIDTH, rate=0.02, key=key),
    }

    def flow(name: str, duration: float) -> Callable[[Any], Any]:
        return lambda key: Flow(fields[name](key), duration)

    found = [Subject(f"residual, {num} layers", residual(num), False) for num in LAYERS]
    found.append(Subject(f"residual, {LAYERS[-1]} layers, 1/depth", residual(LAYERS[-1], scale=1 / LAYERS[-1]), False))
    found += [
        Subject(f"residual, {num} layers, ReLU", residual(num, activation=jax.nn.relu), False, False) for num in LAYERS
    ]
    return found + [
        Subject(f"ODE, {name}, T = {duration:g}", flow(name, duration), True)
        for duration in DURATIONS
        for name in fields
    ]


def train(model: Classifier, points: Any, labels: Any, num_steps: int) -> tuple[Classifier, Any]:
    """`model` after so many steps of Adam on all points, and the losses."""
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        parameters, state = carry
        value, gradient = jax.value_and_grad(lambda p: eqx.combine(p, rest).loss(points, labels)[0])(parameters)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state), value

    (parameters, _), losses = jax.lax.scan(step, (parameters, optimizer.init(parameters)), None, length=num_steps)
    return eqx.combine(parameters, rest), losses


def measure(models: Any, points: Any) -> dict[str, Any]:
    """Medians over seeds and points of the norms over depth; gradients relative to the end; the range over seeds."""

    def one(model: Classifier, point: Any) -> dict[str, Any]:
        found = model.body.measure(lift(point), model.read)
        return found | {"gradient": found["gradient"] / found["gradient"][-1]}

    by_seed = jax.jit(jax.vmap(lambda model: jax.vmap(lambda point: one(model, point))(points)))(models)
    by_seed = {name: np.asarray(value, float) for name, value in by_seed.items()}
    starts = np.median(by_seed["gradient"][:, :, 0], axis=1)
    curves = {name: np.median(by_seed[name], axis=(0, 1)).tolist() for name in ("state", "gradient")}
    summary = {
        "largest_state_norm": float(by_seed["state"].max()),
        "gradient_ratio": float(np.median(by_seed["gradient"][:, :, 0])),
        "gradient_ratio_over_seeds": [float(starts.min()), float(starts.max())],
        "largest_gradient_ratio": float(by_seed["gradient"].max()),
    }
    if "log_norm" in by_seed:
        summary["largest_log_norm"] = float(by_seed["log_norm"].max())
    return _finite(summary | {"curves": curves})


def _finite(tree: Any) -> Any:
    """What JSON can hold, to five digits: `None` for numbers that are not finite."""
    return jax.tree.map(lambda number: float(f"{number:.5g}") if np.isfinite(number) else None, tree)


def run(is_quick: bool) -> dict[str, Any]:
    """Measure, train and measure again."""
    num_seeds, num_steps = (2, 30) if is_quick else (3, 300)
    train_set, test_set = two_moons(NUM_POINTS, 0), two_moons(NUM_POINTS, 1)
    rows = {}
    for subject in subjects():
        start = time.perf_counter()
        keys = jax.random.split(jax.random.key(0), num_seeds)
        bodies = [Classifier(subject.make(key), jax.random.fold_in(key, 1)) for key in keys]
        models = jax.tree.map(lambda *leaves: jnp.stack(leaves), *bodies)
        row: dict[str, Any] = {"is_flow": subject.is_flow, "initial": measure(models, test_set[0][:NUM_MEASURED])}
        if subject.is_trained:
            fit = jax.jit(jax.vmap(lambda model: train(model, *train_set, num_steps)))
            models, losses = fit(models)
            accuracy = jax.jit(jax.vmap(lambda model: model.loss(*test_set)[1]))(models)
            row["trained"] = measure(models, test_set[0][:NUM_MEASURED])
            row["loss"] = [float(loss) for loss in losses[:, -1]]
            row["accuracy"] = [float(share) for share in accuracy]
        rows[subject.name] = row
        say(subject.name, row, time.perf_counter() - start)
    return {"num_seeds": num_seeds, "num_steps": num_steps, "jax": jax.__version__, "rows": rows}


def say(name: str, row: dict[str, Any], seconds: float) -> None:
    """One line on standard error."""
    text = f"{name:32} initial {row['initial']['gradient_ratio'] or np.nan:9.3g}"
    if "trained" in row:
        text += f"  trained {row['trained']['gradient_ratio'] or np.nan:9.3g}  accuracy {np.mean(row['accuracy']):.3f}"
    sys.stderr.write(f"{text}  ({seconds:.0f} s)\n")


def to_markdown(results: dict[str, Any]) -> str:
    """The table of docs/growth.md."""

    def show(row: dict[str, Any], stage: str, name: str) -> str:
        if stage not in row:
            return ""
        return "overflow" if row[stage][name] is None else f"{row[stage][name]:.2g}"

    lines = [
        "| | gradient, start over end, initial | trained | largest state norm, initial | trained | test accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results["rows"].items():
        names = ("gradient_ratio", "largest_state_norm")
        cells = [name, *(show(row, stage, what) for what in names for stage in ("initial", "trained"))]
        cells.append(f"{min(row['accuracy']):.3f} to {max(row['accuracy']):.3f}" if "accuracy" in row else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], path: Path) -> None:
    """State and gradient norm over depth, networks beside ODEs, at initialization and after training."""
    figure = Figure(figsize=(12.5, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4, sharex=True, sharey="row")
    shown = {name: row for name, row in results["rows"].items() if "trained" in row}
    oranges = ("#F4B183", "#E8824A", "#C0531B", "#6B2A08")
    styles = dict(
        zip([n for n in shown if "layers" in n and "1/depth" not in n], [(c, "-") for c in oranges], strict=True)
    )
    styles[next(name for name in shown if "1/depth" in name)] = ("#CC79A7", "--")
    for word, colour in (("MLP", "#000000"), ("bounded", "#0072B2"), ("contractive", "#009E73")):
        for duration, dashes in zip(DURATIONS, ("--", "-"), strict=True):
            styles[f"ODE, {word}, T = {duration:g}"] = (colour, dashes)
    for column, (stage, is_flow) in enumerate((s, f) for s in ("initial", "trained") for f in (False, True)):
        for i, kind in enumerate(("state", "gradient")):
            axes = grid[i, column]
            for name, row in shown.items():
                if row["is_flow"] == is_flow:
                    values = row[stage]["curves"][kind]
                    colour, dashes = styles[name]
                    share = np.linspace(0.0, 1.0, len(values))
                    axes.plot(share, values, color=colour, linestyle=dashes, linewidth=1.8, label=name)
            axes.set_yscale("log")
            axes.grid(alpha=0.25, linewidth=0.5)
            axes.spines[["top", "right"]].set_visible(False)
        when = "at initialization" if stage == "initial" else "after training"
        grid[0, column].set_title(f"{'neural ODEs' if is_flow else 'residual networks'}, {when}", fontsize=10)
        grid[1, column].set_xlabel("t / T" if is_flow else "layer / number of layers")
    grid[0, 0].set_ylabel("norm of the state")
    grid[1, 0].set_ylabel("norm of the gradient for the state,\nrelative to the end")
    # Columns of three: the networks in two, with a blank at the end, the ODEs of each time in one.
    handles = [*grid[0, 0].get_lines(), Line2D([], [], linewidth=0, label=" "), *grid[0, 1].get_lines()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run, and write the figure, the numbers and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds and 30 steps")
    parser.add_argument("--record", action="store_true", help="write to docs/results/training/")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("expected a full run to record, got --quick. Leave one of them out.")
    results = run(options.quick)
    folder = _ROOT / "docs" / "results" / "training" if options.record else _ROOT / "runs" / "growth"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, folder / "growth.png")
    sys.stdout.write(to_markdown(results))


if __name__ == "__main__":
    main()
