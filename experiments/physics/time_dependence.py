"""Which way to put time into a network suits which law?

Question: Fitted to the slopes of a pendulum whose stiffness changes with time, slowly and periodically, or by switches,
    how well do networks of about equal size find the field: without time, with time as an input, with gates, with
    weights from a network of time, and with weights that are sums of functions of time?
Expected: with weights that vary, errors of a few percent where their functions suit the law (piecewise constants for
    switches, the others for what is periodic) and of a tenth elsewhere; a quarter with gates or an input, which follow
    slow changes only, and more without time.
Cost: three minutes on 2 CPU cores; one with --quick.
Command: python -m experiments.physics.time_dependence [--quick] [--record]

Slopes are fitted directly, at times and states drawn anew in every step, so that what is measured is the field, and no
solve. Every field has about 1300 parameters, by the width of its layers, and the same optimizer and number of steps. A
second figure shows what the structures of a linear field do.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import node_jax as nj
from experiments.benchmarks.report import Results, Table, say
from experiments.physics.command import run_study
from experiments.physics.figures import legend_above
from experiments.physics.runs import mean_and_spread
from node_jax.analysis.figures import DATA, MODEL, OTHERS, dress, new_figure, save_figure

_NAME = "time_dependence"
_SPAN = (0.0, 4.0)
_LEVELS = (0.5, 2.0, 1.0, 3.0)
_RATE, _BATCH = 5e-3, 128


def periodic(t: Any) -> Any:
    """A stiffness that goes up and down twice over the span."""
    return 1.6 + 1.2 * jnp.sin(jnp.pi * t)


def switched(t: Any) -> Any:
    """A stiffness that is switched three times."""
    return jnp.asarray(_LEVELS)[jnp.clip(jnp.floor(t), 0, 3).astype(int)]


LAWS = {"periodic": periodic, "switched": switched}


def true_field(stiffness: Callable[[Any], Any], t: Any, y: Any) -> Any:
    """x' = v, v' = -stiffness(t) sin x - v / 5."""
    x, v = y[..., 0], y[..., 1]
    return jnp.stack([v, -stiffness(t) * jnp.sin(x) - 0.2 * v], axis=-1)


def _mlp(width: int, key: Any, **settings: Any) -> nj.fields.MLP:
    return nj.fields.MLP(2, width, 2, activation=jax.nn.silu, key=key, **settings)


def _galerkin(basis: nj.fields.AbstractTimeBasis, width: int, key: Any) -> nj.fields.GalerkinField:
    return nj.fields.GalerkinField(_mlp(width, key), basis)


def _hyper(key: Any) -> nj.fields.HyperField:
    key, key_hyper = jax.random.split(key)
    return nj.fields.HyperField(_mlp(13, key), width=4, span=_SPAN, key=key_hyper)


FIELDS: dict[str, Callable[[Any], Any]] = {
    "no time": lambda key: _mlp(33, key),
    "input": lambda key: _mlp(33, key, is_time_dependent=True),
    "gates": lambda key: nj.fields.ConcatSquashMLP(2, 30, 2, activation=jax.nn.silu, key=key),
    "hypernetwork": _hyper,
    "polynomials": partial(_galerkin, nj.fields.Polynomials(5, _SPAN), 13),
    "Fourier": partial(_galerkin, nj.fields.Fourier(5, _SPAN), 13),
    "constant pieces": partial(_galerkin, nj.fields.PiecewiseConstant(4, _SPAN), 15),
    "linear pieces": partial(_galerkin, nj.fields.PiecewiseLinear(5, _SPAN), 13),
}


def fit(make: Callable[[Any], Any], law: Callable[[Any], Any], num_seeds: int, num_steps: int) -> tuple[Any, int]:
    """Fields of all seeds, fitted side by side, as one with a leading axis; and the parameters of one."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    _, static = eqx.partition(make(keys[0]), eqx.is_inexact_array)
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, num_steps, 0.01))

    def loss(parameters: Any, key: Any) -> Any:
        ts, ys = draw(key, _BATCH)
        return jnp.mean((jax.vmap(eqx.combine(parameters, static))(ts, ys) - true_field(law, ts, ys)) ** 2)

    def train(key: Any) -> Any:
        parameters = eqx.filter(make(key), eqx.is_inexact_array)

        def update(carry: Any, key: Any) -> Any:
            updates, state = optimizer.update(jax.grad(loss)(carry[0], key), carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        start = parameters, optimizer.init(parameters)
        return jax.lax.scan(update, start, jax.random.split(jax.random.fold_in(key, 1), num_steps))[0][0]

    fitted = jax.jit(jax.vmap(train))(keys)
    num_parameters = sum(leaf[0].size for leaf in jax.tree.leaves(fitted))
    return eqx.combine(fitted, static), num_parameters


def draw(key: Any, number: int) -> tuple[Any, Any]:
    """Times of the span, and states around rest."""
    key_t, key_y = jax.random.split(key)
    return jax.random.uniform(key_t, (number,), minval=_SPAN[0], maxval=_SPAN[1]), 2 * jax.random.uniform(
        key_y, (number, 2), minval=-1.0, maxval=1.0
    )


def error(fields: Any, law: Callable[[Any], Any]) -> np.ndarray:
    """Root mean square error of the slopes of each seed, relative to their size, shape (seed,)."""
    ts, ys = draw(jax.random.key(99), 4000)
    truth = true_field(law, ts, ys)
    found = _at(fields, ts, ys)
    return np.asarray(jnp.sqrt(jnp.mean((found - truth) ** 2, axis=(1, 2)) / jnp.mean(truth**2)), float)


def stiffness_of(fields: Any, ts: Any) -> np.ndarray:
    """-v' at x = π/2 and v = 0, where it is the stiffness, of the first seed."""
    ys = jnp.broadcast_to(jnp.array([jnp.pi / 2, 0.0]), (len(ts), 2))
    return -np.asarray(_at(fields, jnp.asarray(ts), ys)[0, :, 1], float)


def _at(fields: Any, ts: Any, ys: Any) -> Any:
    arrays, static = eqx.partition(fields, eqx.is_inexact_array)
    return jax.vmap(lambda one: jax.vmap(eqx.combine(one, static))(ts, ys))(arrays)


def study(is_quick: bool, folder: Path) -> Results:
    """Fit all fields to both laws; a table and two figures."""
    num_seeds, num_steps = (2, 50) if is_quick else (5, 2000)
    found: dict[str, dict[str, Any]] = {law: {} for law in LAWS}
    rows, errors = [], {}
    for name, make in FIELDS.items():
        for law, stiffness in LAWS.items():
            found[law][name], num_parameters = fit(make, stiffness, num_seeds, num_steps)
            errors[name, law] = error(found[law][name], stiffness)
            say(f"{name}, {law}: {np.mean(errors[name, law]):.3g}")
        rows.append((name, num_parameters, *(mean_and_spread(errors[name, law].tolist()) for law in LAWS)))
    _draw_stiffness(found, folder / f"{_NAME}.png")
    draw_linear(folder / f"{_NAME}_linear.png")
    caption = f"Relative error of the slopes, mean ± standard deviation over {num_seeds} seeds"
    columns = ("time enters by", "parameters", "periodic stiffness", "switched stiffness")
    return Results(
        _NAME,
        "Which way to put time into a network suits which law?",
        [Table(caption, columns, rows)],
        notes=[
            "constant pieces have their borders where the stiffness is switched, as one who knows them would choose"
        ],
        data={f"{name}, {law}": errors[name, law].tolist() for name, law in errors},
        is_quick=is_quick,
    )


def _draw_stiffness(found: dict[str, dict[str, Any]], path: Path) -> None:
    """The stiffness that each field has found, over time."""
    figure, grid = new_figure(2, len(FIELDS), (1.75 * len(FIELDS), 4.4))
    ts = np.linspace(*_SPAN, 400)
    for i, (law, stiffness) in enumerate(LAWS.items()):
        for j, (name, axes) in enumerate(zip(FIELDS, grid[i], strict=True)):
            axes.plot(ts, np.asarray(stiffness(ts)), color=DATA, linewidth=2.5, alpha=0.35, label="truth")
            axes.plot(ts, stiffness_of(found[law][name], ts), color=MODEL, linewidth=1.3, label="fitted field")
            axes.set_ylim(-0.2, 3.6)
            axes.set_xticks([0, 2, 4])
            dress(axes)
            if i == 0:
                axes.set_title(name, fontsize=10)
            else:
                axes.set_xlabel("time")
            if j > 0:
                axes.set_yticklabels([])
        grid[i, 0].set_ylabel(f"{law} stiffness")
    legend_above(figure, grid[0, 0], 2)
    save_figure(figure, path)


def draw_linear(path: Path) -> None:
    """Solutions of linear fields of each structure: solved, and by the matrix exponential."""
    turn = np.array([[0.0, 2.0], [-2.0, 0.0]])
    matrices = {
        "free: a saddle": ("free", np.array([[0.6, 1.0], [1.0, -0.8]])),
        "skew: the norm stays": ("skew", turn),
        "stable: the norm falls": ("stable", turn - np.diag([0.8, 0.1])),
    }
    figure, grid = new_figure(1, 3, (11, 4.1))
    starts = np.stack([1.5 * np.array([np.cos(a), np.sin(a)]) for a in np.arange(6) * np.pi / 3 + 0.2])
    fine, coarse = jnp.linspace(0.0, 2.5, 200), jnp.linspace(0.0, 2.5, 12)
    for (title, (structure, matrix)), axes in zip(matrices.items(), grid[0], strict=True):
        field = nj.fields.LinearField(matrix, structure=structure)
        solved = np.asarray(nj.odeint(field, starts, fine).ys)
        exact = np.asarray(field.solve_exactly(starts, coarse))
        for i in range(len(starts)):
            axes.plot(*solved[:, i].T, color=MODEL, linewidth=1.2, label="odeint" if i == 0 else None)
            label = "matrix exponential" if i == 0 else None
            axes.plot(*exact[:, i].T, ".", color=OTHERS[0], markersize=5, label=label)
        axes.plot(*starts.T, "o", color=DATA, markersize=3)
        axes.set_xlim(-2.4, 2.4)
        axes.set_ylim(-2.4, 2.4)
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=10)
        dress(axes)
    legend_above(figure, grid[0, 0], 2)
    save_figure(figure, path)


if __name__ == "__main__":
    run_study(_NAME, __doc__, study)
