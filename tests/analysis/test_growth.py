"""What the monitor of growth says is what closed forms say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from scipy.linalg import expm

import node_jax as nj
from node_jax.analysis import draw_growth, measure_growth

FINE = nj.Integrator(controller=nj.PIController(rtol=1e-10, atol=1e-12))
QUICK = nj.Integrator(solver=nj.RK4(), controller=nj.FixedSteps(8))
MATRIX = np.array([[-0.5, 4.0, 0.0], [0.0, -0.3, 1.0], [0.2, 0.0, -1.0]])


def linear(t, y, matrix):
    return matrix @ y


def test_norms_along_a_linear_solve_are_those_of_the_matrix_exponential(x64):
    ts, y0, weights = np.array([0.0, 0.5, 2.0]), np.array([1.0, -1.0, 0.5]), np.array([0.3, 2.0, -1.0])
    measure = jax.jit(
        lambda y0, ts: measure_growth(linear, y0, ts, MATRIX, loss=lambda y: weights @ y, integrator=FINE)
    )
    growth = measure(y0, ts)
    assert growth.status == nj.Status.success
    np.testing.assert_allclose(growth.state_norm, [np.linalg.norm(expm(MATRIX * t) @ y0) for t in ts], rtol=1e-8)
    gradients = [np.linalg.norm(expm(MATRIX.T * (2.0 - t)) @ weights) for t in ts]
    np.testing.assert_allclose(growth.gradient_norm, gradients, rtol=1e-8)
    np.testing.assert_allclose(growth.jacobian_norm, np.linalg.norm(MATRIX, 2), rtol=1e-12)
    np.testing.assert_allclose(growth.log_norm, np.linalg.eigvalsh((MATRIX + MATRIX.T) / 2)[-1], rtol=1e-12)
    scalars = growth.scalars()
    assert scalars["max_state_norm"] == growth.state_norm.max()
    assert float(scalars["gradient_ratio"]) == pytest.approx(gradients[0] / gradients[-1], rel=1e-8)


def test_a_large_state_needs_no_matrix():
    rates = jnp.concatenate([jnp.array([-5.0, 2.0]), jnp.linspace(-2.0, 0.5, 298)])
    y0 = {"a": jnp.full((10, 10), 0.1), "b": jnp.full((200,), 0.1)}

    def field(t, y, args):
        return {"a": rates[:100].reshape(10, 10) * y["a"], "b": rates[100:] * y["b"]}

    growth = jax.jit(lambda y0: measure_growth(field, y0, [0.0, 0.2], integrator=QUICK))(y0)
    np.testing.assert_allclose(growth.jacobian_norm, 5.0, rtol=1e-4)
    np.testing.assert_allclose(growth.log_norm, 2.0, rtol=1e-4)
    assert growth.gradient_norm is None
    assert "gradient_ratio" not in growth.scalars()


def test_gradients_of_a_contractive_field_shrink_at_its_rate_and_start_with_that_of_the_solve():
    field = nj.fields.ContractiveField(3, 8, rate=0.7, key=jax.random.key(0))
    y0s, ts = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), np.linspace(0.0, 2.0, 21)

    def loss(y):
        return jnp.sum(jnp.sin(y))

    @jax.jit
    def measure(y0s):
        growth = jax.vmap(lambda y0: measure_growth(field, y0, ts, loss=loss, integrator=QUICK))(y0s)
        return growth, jax.grad(lambda y0s: loss(QUICK(field, y0s, ts).ys[-1]))(y0s)

    growth, expected = measure(y0s)
    np.testing.assert_allclose(growth.gradient_norm[:, 0], jnp.linalg.norm(expected, axis=1), rtol=1e-4)
    growth_rate = np.trapezoid(growth.log_norm, ts, axis=1)
    ratio = growth.gradient_norm[:, 0] / growth.gradient_norm[:, -1]
    assert (np.log(ratio) <= growth_rate + 1e-2).all()
    assert (growth.gradient_norm <= growth.gradient_norm[:, -1:] * np.exp(-0.7 * (2.0 - ts)) * 1.001).all()
    assert (growth.log_norm <= -0.7 + 1e-5).all()


def test_a_failed_solve_has_a_status_and_nan_beyond_it():
    integrator = nj.Integrator(max_steps=64)
    growth = jax.jit(
        lambda y0: measure_growth(lambda t, y, args: y**2, y0, [0.0, 0.5, 2.0], loss=jnp.sum, integrator=integrator)
    )(jnp.ones(1))
    assert growth.status not in (nj.Status.success, nj.Status.event)
    np.testing.assert_allclose(growth.state_norm[:2], [1.0, 2.0], rtol=1e-3)
    assert np.isnan(growth.state_norm[2])
    assert np.isnan(growth.jacobian_norm[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ts": [0.0, 1.0], "loss": lambda y: y}, r"loss that is a scalar, got shape \(3,\)"),
        ({"ts": [0.0]}, r"two times or more, got \(1,\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measure_growth(linear, jnp.ones(3), args=jnp.eye(3), integrator=QUICK, **options)


def test_a_figure_has_one_curve_for_each_name(tmp_path):
    ts, rows = np.linspace(0.0, 1.0, 5), np.linspace(1.0, 2.0, 5)
    growths = {
        "with a loss": nj.analysis.Growth(ts, rows, rows, -rows, rows, np.zeros((), np.int32)),
        "without": nj.analysis.Growth(ts, 2 * rows, rows, rows, None, np.zeros((), np.int32)),
    }
    draw_growth(growths, tmp_path / "growth.png")
    one = dict(list(growths.items())[:1])
    draw_growth(one, tmp_path / "one.png")
    both, single = imread(tmp_path / "growth.png"), imread(tmp_path / "one.png")
    assert both.shape == single.shape
    # The second curve's colour is found where there is a second curve.
    second = np.array([0xD5, 0x5E, 0x00]) / 255
    near = [np.sum(np.abs(image[..., :3] - second).max(axis=-1) < 0.02) for image in (both, single)]
    assert near[0] > 200
    assert near[1] == 0
