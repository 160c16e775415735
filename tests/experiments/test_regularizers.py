"""The experiment on regularizers measures what it says it measures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from experiments import regularizers
from experiments.regularizers import Flow, FlowField, OfPoint, Problem, Variant, run_problem, summarize, to_markdown
from experiments.regularizers_drawing import draw_curves, draw_moons

MATRIX = np.array([[0.3, 1.0], [-0.5, -0.8]], np.float32)


def linear_flow():
    """A flow whose field is MATRIX x."""
    velocity = nj.fields.MLP(2, 2, 0, key=jax.random.key(0))
    velocity = eqx.tree_at(lambda v: v.weights, velocity, (jnp.asarray(MATRIX),))
    return eqx.tree_at(lambda flow: flow.field, Flow(jax.random.key(0)), FlowField(velocity))


def test_a_flow_of_a_linear_field_gives_the_density_of_a_normal_variable():
    flow, points = linear_flow(), jnp.array([[0.5, -0.2], [1.5, 2.0]], jnp.float32)
    solve = jax.vmap(lambda y0: regularizers.INTEGRATOR(flow.field, y0, [0.0, 1.0]).ys[-1])
    ends = jax.jit(solve)(flow.start(points))
    to_end = jax.scipy.linalg.expm(jnp.asarray(MATRIX))
    precision = to_end.T @ to_end
    expected = 0.5 * jnp.einsum("ni,ij,nj->n", points, precision, points) + jnp.log(2 * jnp.pi)
    expected -= 0.5 * jnp.linalg.slogdet(precision)[1]
    np.testing.assert_allclose(flow.losses(ends, None), expected, rtol=1e-4)


def test_costs_of_a_point_leave_its_density_out():
    field, y = linear_flow().field, jnp.array([0.5, -0.2, 7.0], jnp.float32)
    kinetic = OfPoint(nj.losses.KineticEnergy()).rate(field, 0.0, y, None)
    np.testing.assert_allclose(kinetic, np.mean((MATRIX @ y[:2]) ** 2), rtol=1e-6)
    jacobian = OfPoint(nj.losses.JacobianNorm(exact=True)).rate(field, 0.0, y, None)
    np.testing.assert_allclose(jacobian, np.sum(MATRIX**2), rtol=1e-6)


def test_digits_are_split_without_overlap_and_in_range():
    train, held_out = regularizers.digits(0)
    assert (train[0].shape, held_out[0].shape) == ((1347, 64), (450, 64))
    assert 0 <= train[0].min() < train[0].max() == 1
    both = np.sort(np.concatenate([train[1], held_out[1]]))
    np.testing.assert_array_equal(np.sort(np.concatenate([*(part[1] for part in regularizers.digits(1))])), both)


def test_figures_are_of_the_end_and_relative_to_no_regularizer():
    rows = {
        "none": {"curves": {"num_evals": [[9.0, 30.0], [9.0, 50.0]], "loss": [[9.0, -2.0], [9.0, -2.0]]}},
        "half": {"curves": {"num_evals": [[9.0, 20.0], [9.0, 20.0]], "loss": [[9.0, -1.9], [9.0, -1.9]]}},
    }
    summarize(rows)
    assert rows["none"]["num_evals"] == pytest.approx([40.0, np.sqrt(200)])
    assert rows["half"]["evals_ratio"] == pytest.approx(0.5)
    # A loss below zero that rises is a change for the worse too.
    assert rows["half"]["loss_change"] == pytest.approx(0.05)


def test_a_short_run_gives_a_table_and_figures(tmp_path):
    points = regularizers.two_moons(16, 0)
    error = nj.losses.Regularization({}, ("error",), {"error": jnp.asarray(1.0)})
    problem = Problem(
        "moons", lambda seed: (points, points), Flow, 10, 1e-2, (Variant("none", error, budget=1.0),), batch_size=4
    )
    found, models = run_problem(problem, 1)
    row = found["rows"]["none"]
    assert len(row["curves"]["loss"][0]) == regularizers.NUM_CURVE + 1
    assert row["failed_share"] == [0, 0]
    assert row["num_evals_trained"][0] >= 19
    end = regularizers.evaluate(models["none"], points)
    assert row["num_evals"][0] == pytest.approx(float(end["num_evals"]))
    assert row["loss"][0] == pytest.approx(float(end["loss"]))
    results = {"problems": {"moons": found}}
    assert "| moons | none |" in to_markdown(results)
    draw_curves(results, tmp_path / "curves.png")
    draw_moons(models, points[0], tmp_path / "moons.png", resolution=8)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("curves.png", "moons.png"))
