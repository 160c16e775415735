"""Classify vectors by a flow and an affine map behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from node_jax.analysis import Prediction, draw_confusion, draw_decision
from node_jax.analysis.decisions import Flow
from node_jax.data import LabelledPoints, LabelledSplits
from node_jax.errors import UsageError
from node_jax.fields import draw_dropout
from node_jax.losses import Regularization, cross_entropy, huber_on_signs, masked_mean
from node_jax.models import Classifier, fit_logistic_regression
from node_jax.solution import Solution
from node_jax.status import is_success
from node_jax.tasks.base import AbstractTask, Evaluation, Inspection, Phase
from node_jax.tasks.batches import check_batch_size, draw_batch
from node_jax.tasks.looks import monitor_solve, require_room, solve_metrics, with_more_steps, work_of
from node_jax.types import Key

Criterion = Literal["cross-entropy", "huber"]
_LOOKS = 21
"""Times along a flow that is looked at or drawn."""
_GRID = 60
"""Points a side of the plane that is drawn."""


class Points(NamedTuple):
    """Points and labels on the device."""

    inputs: Float[Array, "point dim"]
    labels: Int[Array, " point"]


class Solved(NamedTuple):
    """A batch of points, solved and judged."""

    loss: Float[Array, " point"]
    """Of each point; without meaning where its solve failed."""
    probabilities: Float[Array, "point classes"]
    is_good: Bool[Array, " point"]
    """Whether the solve succeeded."""
    solution: Solution
    costs: dict[str, Float[Array, " point"]]


class ClassificationTask(AbstractTask):
    r"""Fit of a `Classifier`, every point a trajectory with steps of its own.

    Logged beside the loss: the accuracy on the batch, evaluations of a solve (their mean, and the most that a point of
    the batch took), and the share of failed solves, which the loss leaves out.

    Arguments:
        data: points to fit, to validate by and to test on.
        make_model: `make_model(key)` gives a fresh classifier for them.
        batch_size: points drawn for each training step; `None` takes all.
        criterion: "cross-entropy", or "huber" for outputs that shall be 1 for their class and -1 for others, as Dupont
            et al. (2019) fit theirs; probabilities are then (1 + output)/2, cut off at 0 and scaled to add up to 1.
        regularization: what is kept small beside the error.
        watches_growth: whether norms of state, Jacobian and gradient are logged; see `measure_growth`.

    Raises:
        UsageError: for a batch that is larger than the data, and sets of other sizes or classes.

    Example:
        >>> import jax, node_jax as nj
        >>> from node_jax.tasks import ClassificationTask
        >>> train, test = (nj.data.draw_concentric_spheres(5, 15, seed=seed) for seed in (0, 1))
        >>> def make_model(key):
        ...     field = nj.fields.MLP(dim=2, width=8, depth=1, key=key)
        ...     return nj.models.Classifier(field, 2, 2, integrator=nj.Integrator(), key=key)
        >>> task = ClassificationTask(nj.data.LabelledSplits(train, None, test), make_model)
        >>> sorted(task.judge(task.init(jax.random.key(0)), test))
        ['accuracy', 'evaluations', 'failed solves', 'loss', 'most evaluations']
    """

    points: Points
    held_out: Points | None
    regularization: Regularization
    data: LabelledSplits = eqx.field(static=True)
    make_model: Callable[[Key], Classifier] = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    criterion: Criterion = eqx.field(static=True)
    watches_growth: bool = eqx.field(static=True)

    def __init__(
        self,
        data: LabelledSplits,
        make_model: Callable[[Key], Classifier],
        *,
        batch_size: int | None = None,
        criterion: Criterion = "cross-entropy",
        regularization: Regularization | None = None,
        watches_growth: bool = False,
    ) -> None:
        train = data.train
        for name, other in (("validation", data.validation), ("test", data.test)):
            if other is None:
                continue
            if other.classes != train.classes or other.inputs.shape[1] != train.inputs.shape[1] or not len(other):
                raise UsageError(
                    f"ClassificationTask: expected {name} points of the {len(train.classes)} classes and "
                    f"{train.inputs.shape[1]} components that are fitted, got {len(other)} of {len(other.classes)} "
                    f"classes with {other.inputs.shape[1]}."
                )
        check_batch_size("ClassificationTask", batch_size, len(train), "points to fit")
        if criterion not in _JUDGES:
            raise UsageError(f"ClassificationTask: expected criterion to be one of {[*_JUDGES]}, got {criterion!r}.")
        require_room("ClassificationTask", make_model(jax.random.key(0)).integrator, 1)
        self.points = _as_points(train)
        self.held_out = None if data.validation is None else _as_points(data.validation)
        self.regularization = Regularization() if regularization is None else regularization
        self.data = data
        self.make_model = make_model
        self.batch_size = batch_size
        self.criterion = criterion
        self.watches_growth = watches_growth

    def init(self, key: Key) -> Classifier:
        """A fresh classifier."""
        return self.make_model(key)

    def loss(self, model: Classifier, key: Key, phase: Phase) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Mean loss of the batch, and what is to be kept small. All points of a step share their dropout."""
        key_batch, key_dropout, key_solve = jax.random.split(key, 3)
        thinned = eqx.tree_at(lambda m: m.field, model, draw_dropout(model.field, key=key_dropout))
        batch = draw_batch(key_batch, self.batch_size, self.points)
        solved = _solve(thinned, batch, self.criterion, self.regularization, key_solve)
        error = masked_mean(solved.loss, solved.is_good)
        metrics = solve_metrics(solved.solution, model.integrator) | {"accuracy": _accuracy(solved, batch.labels)}
        if "num_evals" in metrics:
            metrics["max_evals"] = jnp.max(solved.solution.stats.num_evals).astype(float)
        penalty, means = self.regularization.penalty(solved.costs, solved.is_good, model.field, phase.multiplier)
        if self.regularization.weights:
            metrics |= {"error_loss": error, **means}
        return error + penalty, metrics

    def validate(self, model: Classifier) -> dict[str, Array] | None:
        """Loss and accuracy of the points held out; a failed solve makes the loss infinite."""
        if self.held_out is None:
            return None
        solved = _solve(model, self.held_out, self.criterion)
        loss = jnp.where(solved.is_good.all(), jnp.mean(solved.loss), jnp.inf)
        return {"loss": loss, "accuracy": _accuracy(solved, self.held_out.labels)}

    def monitor(self, model: Classifier) -> dict[str, Array]:
        """See `monitor_solve`, of the first point; growth is that of its loss."""
        start, label = model.start(self.points.inputs[0]), self.points.labels[0]

        def error(state: Array) -> Array:
            return _JUDGES[self.criterion].loss(model.head(state), label)

        growth_of = error if self.watches_growth else None
        return monitor_solve(model.integrator, model.field, start, model.times, growth_of=growth_of)

    def inspect(self, model: Classifier, key: Key, phase: Phase) -> Inspection:
        """The points that `loss` draws with `key`, each solved again, without dropout; no state is observed."""
        del phase
        batch = draw_batch(jax.random.split(key, 3)[0], self.batch_size, self.points)
        paths = self._paths(model, batch.inputs)
        solved = _solve_compiled(model, batch, self.criterion)
        loss = np.asarray(jnp.where(solved.is_good, solved.loss, jnp.nan))
        times = np.broadcast_to(np.linspace(0.0, model.end_time, _LOOKS), paths.shape[:2])
        figures = {**work_of(solved.solution), "loss": loss}
        return Inspection(times, np.full(paths.shape, np.nan), paths, np.asarray(solved.solution.status), figures)

    def predict(self, model: Classifier) -> Prediction:
        """Probabilities of the test points, one after the other; the noise is that of the labels that are fitted."""
        probabilities = self.probabilities(model, self.data.test.inputs)
        num_classes = len(self.data.train.classes)
        left = np.eye(num_classes)[self.data.train.labels] - self.probabilities(model, self.data.train.inputs)
        truth = np.eye(num_classes)[self.data.test.labels]
        noise = np.sqrt(np.mean(left**2, axis=0))
        places = np.arange(len(truth), dtype=float)
        return Prediction(places, truth, probabilities, noise, self.data.train.classes, "probability")

    def probabilities(self, model: Classifier, inputs: Any) -> np.ndarray:
        """Probabilities of the classes for points of shape (point, dim); NaN where a solve fails."""
        batch = Points(jnp.asarray(inputs, float), jnp.zeros(len(inputs), jnp.int32))
        solved = _solve_compiled(model, batch, self.criterion)
        return np.where(np.asarray(solved.is_good)[:, None], np.asarray(solved.probabilities, float), np.nan)

    def judge(self, model: Classifier, data: LabelledPoints) -> dict[str, float]:
        """Loss, accuracy, evaluations of a point (mean and most, if the solver counts them), number of failed solves.

        A failed solve counts as a wrong decision, and is left out of the loss.
        """
        solved = _solve_compiled(model, _as_points(data), self.criterion)
        found = {
            "loss": float(masked_mean(solved.loss, solved.is_good)),
            "accuracy": float(_accuracy(solved, jnp.asarray(data.labels))),
        }
        evals = work_of(solved.solution).get("evaluations")
        if evals is not None:
            found |= {"evaluations": float(evals.mean()), "most evaluations": float(evals.max())}
        return found | {"failed solves": float(jnp.sum(~solved.is_good))}

    def evaluate(self, model: Any, others: dict[str, Any], directory: Path, log: Callable[[str], None]) -> Evaluation:
        """Test loss, accuracy and evaluations, beside `others`, logistic regression and the most frequent class."""
        log("solving the test points")
        data = self.data
        rows = {name: self.judge(candidate, data.test) for name, candidate in {"model": model, **others}.items()}
        train_accuracy = self.judge(model, data.train)["accuracy"]
        for name, logits in self._plain_logits(model).items():
            rows[name] = {"accuracy": float(np.mean(logits.argmax(axis=1) == data.test.labels))}
            if self.criterion == "cross-entropy":
                rows[name]["loss"] = float(jnp.mean(cross_entropy(jnp.asarray(logits), jnp.asarray(data.test.labels))))
        head = ["classifier", "loss", "accuracy", "evaluations", "most evaluations", "failed solves"]
        table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for name, row in rows.items():
            cells = [f"{row[key]:.4g}" if key in row else "" for key in head[1:]]
            table.append(f"| {name} | {' | '.join(cells)} |")
        metrics = {name.replace(" ", "_"): value for name, value in rows["model"].items()}
        metrics["train_accuracy"] = train_accuracy
        summary = (
            f"Fitted to {len(data.train)} points ({data.train.source}) and tested on {len(data.test)} others, which "
            f"nothing was fitted to or chosen by. The loss is the mean {self.criterion} loss; evaluations are those of "
            "one solve, its mean and its largest over the points."
        )
        return Evaluation(metrics, "\n".join(table), self.draw(model, others, directory), summary)

    def _plain_logits(self, model: Classifier) -> dict[str, np.ndarray]:
        """What needs no flow, on the test points."""
        train, test, num_classes = self.data.train, self.data.test, len(self.data.train.classes)
        scaling = model.scaling
        fitted, asked = (
            data.inputs if scaling is None else np.asarray(scaling.state_to_model(data.inputs), float)
            for data in (train, test)
        )
        regression = fit_logistic_regression(fitted, train.labels, num_classes)
        shares = np.bincount(train.labels, minlength=num_classes) / len(train)
        frequent = np.broadcast_to(np.log(np.maximum(shares, 1e-12)), (len(test), num_classes))
        return {"logistic regression": regression.logits(asked), "frequencies of the classes": frequent}

    def draw(self, model: Any, others: dict[str, Any], directory: Path) -> tuple[str, ...]:
        """For points in a plane, decision and flow; for others, how often each class is taken for each."""
        test, classes = self.data.test, self.data.test.classes
        candidates = {"model": model, **others}
        if test.inputs.shape[1] == 2 and model.encoder is None:
            flows = {name: self.flow(candidate) for name, candidate in candidates.items()}
            draw_decision(flows, classes, directory / "decision.png")
            return ("decision.png",)
        tables = {}
        for name, candidate in candidates.items():
            decided = np.nan_to_num(self.probabilities(candidate, test.inputs), nan=-1.0).argmax(axis=1)
            tables[name] = np.zeros((len(classes), len(classes)), int)
            np.add.at(tables[name], (test.labels, decided), 1)
        draw_confusion(tables, classes, directory / "confusion.png")
        return ("confusion.png",)

    def flow(self, model: Classifier) -> Flow:
        """Of points in a plane, what `draw_decision` draws."""
        test = self.data.test
        side = [np.linspace(low, high, _GRID) for low, high in zip(*_bounds(test.inputs), strict=True)]
        grid = np.stack(np.meshgrid(*side), axis=-1)
        probabilities = self.probabilities(model, grid.reshape(-1, 2)).reshape(_GRID, _GRID, -1)
        probabilities = np.nan_to_num(probabilities, nan=1 / probabilities.shape[-1])
        return Flow(test.inputs, test.labels, self._paths(model, test.inputs), grid, probabilities)

    def _paths(self, model: Classifier, inputs: Any) -> np.ndarray:
        """The states of points along the flow, shape (point, time, dim)."""
        times = jnp.linspace(0.0, model.end_time, _LOOKS)
        integrator = with_more_steps(model.integrator, _LOOKS)
        ts = jnp.broadcast_to(times, (len(inputs), _LOOKS))
        start = model.start(jnp.asarray(inputs, float))
        solution, _ = _PLAIN.solve_batch(integrator, model.field, start, ts, jax.random.key(0))
        return np.asarray(solution.ys, float)


class _Judge(NamedTuple):
    """What outputs of a classifier mean."""

    loss: Callable[[Array, Array], Array]
    """Of outputs and labels."""
    probabilities: Callable[[Array], Array]


def _shares(outputs: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    parts = jnp.maximum((1 + outputs) / 2, 1e-6)
    return parts / jnp.sum(parts, axis=-1, keepdims=True)


_JUDGES = {
    "cross-entropy": _Judge(cross_entropy, jax.nn.softmax),
    "huber": _Judge(huber_on_signs, _shares),
}
_PLAIN = Regularization()


def _solve(
    model: Classifier,
    batch: Points,
    criterion: Criterion,
    regularization: Regularization = _PLAIN,
    key: Key | None = None,
) -> Solved:
    """Every point of a batch, solved to the end of the flow."""
    judge = _JUDGES[criterion]
    ts = jnp.broadcast_to(model.times, (len(batch.labels), 2))
    key = jax.random.key(0) if key is None else key
    start = model.start(batch.inputs)
    solution, costs = regularization.solve_batch(model.integrator, model.field, start, ts, key)
    is_good = is_success(solution.status)
    # Rows of failed solves are NaN, which would go on into the gradient of the head.
    outputs = model.head(jnp.where(is_good[:, None], solution.ys[:, -1], 0))
    return Solved(judge.loss(outputs, batch.labels), judge.probabilities(outputs), is_good, solution, costs)


_solve_compiled = eqx.filter_jit(_solve)


def _as_points(data: LabelledPoints) -> Points:
    return Points(jnp.asarray(data.inputs, float), jnp.asarray(data.labels, jnp.int32))


def _accuracy(solved: Solved, labels: Int[Array, " point"]) -> Float[Array, ""]:
    is_right = (jnp.argmax(solved.probabilities, axis=-1) == labels) & solved.is_good
    return jnp.mean(is_right.astype(float))


def _bounds(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    return low - 0.1 * (high - low), high + 0.1 * (high - low)
