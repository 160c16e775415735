"""The experiment on growth measures what it says it measures."""

import jax
import jax.numpy as jnp
import numpy as np

import node_jax as nj
from experiments.growth import Classifier, Flow, ResidualNetwork, lift, measure, to_markdown, two_moons


def stack(bodies):
    models = [Classifier(body, jax.random.key(7)) for body in bodies]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)


def test_a_residual_network_is_measured_by_its_own_gradient():
    points, models = two_moons(3, 0)[0], stack([ResidualNetwork(3, key=jax.random.key(seed)) for seed in (0, 1)])
    found = measure(models, points)

    def ratio(model, y0):
        gradient = jax.grad(lambda y: model.read(model.body(y)))(y0)
        return jnp.linalg.norm(gradient) / jnp.linalg.norm(model.head)

    ratios = jax.jit(jax.vmap(jax.vmap(ratio, (None, 0)), (0, None)))(models, lift(points))
    np.testing.assert_allclose(found["gradient_ratio"], np.median(ratios), rtol=1e-4)
    np.testing.assert_allclose(found["gradient_ratio_over_seeds"], np.sort(np.median(ratios, axis=1)), rtol=1e-4)
    assert [len(found["curves"][name]) for name in ("state", "gradient")] == [4, 4]
    assert found["curves"]["gradient"][-1] == 1


def test_a_flow_is_measured_at_its_ends():
    flow = Flow(nj.fields.ContractiveField(16, 16, rate=0.5, initial_scale=0.0, key=jax.random.key(0)), 2.0)
    found = jax.jit(lambda y0: flow.measure(y0, jnp.sum))(lift(np.array([3.0, 4.0], np.float32)))
    state, gradient = found["state"], found["gradient"]
    np.testing.assert_allclose([state[0], state[-1]], [5.0, 5.0 * np.exp(-1.0)], rtol=1e-3)
    np.testing.assert_allclose([gradient[0], gradient[-1]], [4.0 * np.exp(-1.0), 4.0], rtol=1e-3)
    np.testing.assert_allclose(found["log_norm"], -0.5, rtol=1e-3)


def test_moons_are_two_classes_of_equal_size_that_no_line_tells_apart():
    points, labels = two_moons(256, 0)
    assert labels.sum() == 128
    design = np.concatenate([points, np.ones((256, 1))], axis=1)
    fitted = design @ np.linalg.lstsq(design, 2 * labels - 1, rcond=None)[0]
    assert 0.8 < np.mean((fitted > 0) == (labels > 0.5)) < 0.95


def test_what_overflows_is_said_in_the_table():
    row = {"initial": {"gradient_ratio": None, "largest_state_norm": 12.34}}
    assert "| ReLU | overflow |  | 12 |  |  |" in to_markdown({"rows": {"ReLU": row}})
