"""Classification masks what failed, knows what it solves, and is held against plain classifiers."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.data import LabelledPoints, LabelledSplits, draw_concentric_spheres, load_digits, split_labelled
from node_jax.errors import UsageError
from node_jax.losses import KineticEnergy, Regularization, cross_entropy, huber_on_signs
from node_jax.models import Classifier, fit_logistic_regression
from node_jax.tasks import ClassificationTask, Phase

KEY, PHASE = jax.random.key(0), Phase(0, jnp.zeros(()))


def make_model(key, max_steps=64):
    field = nj.fields.MLP(dim=3, width=8, depth=1, key=key)
    controller = nj.PIController(rtol=1e-3, atol=1e-3)
    integrator = nj.Integrator(controller=controller, max_steps=max_steps)
    return Classifier(field, 2, 2, integrator=integrator, num_augmented=1, key=key)


@pytest.fixture(scope="module")
def data():
    train, validation, test = (draw_concentric_spheres(8, 24, seed=seed) for seed in range(3))
    return LabelledSplits(train, validation, test)


def test_the_loss_is_the_mean_over_the_points_solved_one_by_one(data):
    model = make_model(KEY)
    logits = jnp.stack([model(x) for x in data.train.inputs])
    labels = jnp.asarray(data.train.labels)
    for criterion, each in (("cross-entropy", cross_entropy), ("huber", huber_on_signs)):
        task = ClassificationTask(data, make_model, criterion=criterion)
        value, metrics = jax.jit(lambda model, task=task: task.loss(model, KEY, PHASE))(model)
        np.testing.assert_allclose(value, jnp.mean(each(logits, labels)), rtol=1e-3)
        np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(1) == labels))
        assert 0 < metrics["num_evals"] <= metrics["max_evals"]


def test_failed_solves_are_left_out_of_the_loss_and_its_gradient(data):
    task, model = ClassificationTask(data, make_model), make_model(KEY)
    # A field that blows up for the points of one half of the plane.
    explodes = eqx.tree_at(lambda m: m.field, model, lambda t, y, args: jnp.where(y[0] > 0, 1e3 * y**3, -y))
    loss = jax.jit(jax.value_and_grad(lambda head: task.loss(_with_head(explodes, head), KEY, PHASE), has_aux=True))
    (value, metrics), gradient = loss(model.head)
    left = data.train.inputs[:, 0] <= 0
    assert np.isfinite(value)
    np.testing.assert_allclose(metrics["failed_share"], 1 - left.mean())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    judged = task.judge(explodes, data.train)
    assert judged["failed solves"] == np.sum(~left)
    assert judged["accuracy"] <= left.mean()
    found = task.validate(explodes)
    assert found is not None
    assert found["loss"] == np.inf


def test_a_solver_that_counts_no_evaluations_reports_none(data):
    task, model = ClassificationTask(data, make_model), make_model(KEY)
    counted, uncounted = (
        jax.eval_shape(lambda m=m: task.loss(m, KEY, PHASE))[1]
        for m in (model, eqx.tree_at(lambda m: m.integrator, model, nj.Integrator(diffrax.Tsit5())))
    )
    assert set(counted) - set(uncounted) == {"num_evals", "max_evals"}


def _with_head(model, head):
    return eqx.tree_at(lambda m: m.head, model, head)


def test_a_cost_of_solves_joins_the_loss_under_the_multiplier(data):
    regularization = Regularization({"kinetic": KineticEnergy()}, weights={"kinetic": jnp.asarray(0.5)})
    task, model = ClassificationTask(data, make_model, regularization=regularization, batch_size=8), make_model(KEY)
    value, metrics = task.loss(model, KEY, eqx.tree_at(lambda p: p.multiplier, PHASE, jnp.asarray(3.0)))
    np.testing.assert_allclose(value, metrics["error_loss"] + 3 * 0.5 * metrics["kinetic"], rtol=1e-5)


def test_evaluation_sets_the_model_beside_plain_classifiers_and_draws_its_flow(data, tmp_path):
    task, model = ClassificationTask(data, make_model), make_model(KEY)
    evaluation = task.evaluate(model, {}, tmp_path, lambda line: None)
    assert [row.split(" | ")[0] for row in evaluation.table.splitlines()[2:]] == [
        "| model",
        "| logistic regression",
        "| frequencies of the classes",
    ]
    np.testing.assert_allclose(evaluation.metrics["accuracy"], task.judge(model, data.test)["accuracy"])
    assert (tmp_path / "decision.png").stat().st_size > 1000
    # No line parts a disc from the ring around it: the plain classifiers find the share of the larger class.
    assert "| 0.75 |" in evaluation.table.splitlines()[3]
    assert task.predict(model).values.shape == (32, 2)
    assert task.inspect(model, KEY, PHASE).states.shape == (32, 21, 3)


def test_logistic_regression_has_no_gradient_left():
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(60, 3)), random.integers(0, 4, 60)
    found = fit_logistic_regression(inputs, labels, 4, penalty=0.5)

    def objective(weights, bias):
        logits = inputs @ weights.T + bias
        return jnp.sum(cross_entropy(logits, labels)) + 0.25 * (jnp.sum(weights**2) + jnp.sum(bias**2))

    for slope in jax.grad(objective, (0, 1))(jnp.asarray(found.weights), jnp.asarray(found.bias)):
        np.testing.assert_allclose(slope, 0.0, atol=1e-4)


def test_digits_are_dealt_to_sets_that_share_no_image():
    splits = load_digits(validation_share=0.1, test_share=0.25)
    parts = [splits.train, splits.validation, splits.test]
    assert [len(part) for part in parts] == [1168, 180, 449]
    images = {tuple(row) for part in parts for row in part.inputs}
    assert len(images) == 1797
    assert 0 <= splits.train.inputs.min() < splits.train.inputs.max() == 1


def test_spheres_keep_their_radii():
    data = draw_concentric_spheres(50, 70, dim=3, inner_radius=0.4, outer_radii=(0.9, 1.1), seed=1)
    radii = np.linalg.norm(data.inputs, axis=1)
    assert (radii[data.labels == 0] <= 0.4).all()
    assert ((radii[data.labels == 1] >= 0.9) & (radii[data.labels == 1] <= 1.1)).all()


POINTS = np.zeros((4, 2)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: LabelledPoints(POINTS[0], POINTS[1] + 1, ("a", "b")), r"labels in \[0, 2\).*got 2"),
        (lambda data: LabelledPoints(POINTS[0], POINTS[1][:3], ("a", "b")), r"\(4, 2\) and \(3,\)"),
        (lambda data: LabelledPoints(POINTS[0], POINTS[1] / 1, ("a", "b")), "integer labels.*float64"),
        (lambda data: LabelledPoints(POINTS[0] * np.nan, POINTS[1], ("a", "b")), "finite inputs"),
        (lambda data: split_labelled(data.train, 0.5, 0.5), "leave points to fit"),
        (lambda data: draw_concentric_spheres(1, 1, inner_radius=1.2), "inner_radius < outer_radii"),
        (
            lambda data: ClassificationTask(data, make_model, batch_size=33),
            "1 and the number of points to fit, 32, got 33",
        ),
        (lambda data: ClassificationTask(data, make_model, criterion="hinge"), "'huber'.*got 'hinge'"),
        (
            lambda data: ClassificationTask(
                LabelledSplits(data.train, None, draw_concentric_spheres(1, 1, dim=3)), make_model
            ),
            "test points of the 2 classes and 2 components",
        ),
        (lambda data: Classifier(None, 2, 1, integrator=nj.Integrator(), key=KEY), "num_classes to be an integer"),
        (lambda data: Classifier(None, 2, 2, integrator=nj.Integrator(), end_time=0.0, key=KEY), "end_time > 0"),
        (lambda data: fit_logistic_regression(*POINTS, 2, penalty=0.0), "penalty > 0"),
    ],
)
def test_what_does_not_fit_is_refused(data, call, message):
    with pytest.raises((ValueError, UsageError), match=message):
        call(data)
