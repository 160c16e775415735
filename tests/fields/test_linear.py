"""The linear field has the solutions that the matrix exponential gives, and its structure holds for any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj

CONTROLLER = nj.PIController(rtol=1e-9, atol=1e-10)
MATRIX = np.array([[-0.3, 2.0, 0.0], [-2.0, -0.1, 0.5], [0.2, 0.0, -1.0]])


def field_with_input():
    return nj.fields.LinearField(MATRIX, [[1.0, 0.0], [0.0, -1.0], [0.5, 0.5]], [0.1, 0.2, -0.3])


def test_a_solve_and_its_gradient_are_those_of_the_matrix_exponential(x64):
    field, ts, u = field_with_input(), jnp.array([0.5, 1.0, 3.0]), jnp.array([0.7, -0.4])
    y0 = jnp.array([[1.0, -1.0, 0.5], [0.0, 2.0, 0.0]])
    weights = jnp.cos(jnp.arange(18.0)).reshape(3, 2, 3)

    def solved(field, y0, u):
        return jnp.sum(weights * nj.odeint(field, y0, ts, u, controller=CONTROLLER).ys)

    def exact(field, y0, u):
        return jnp.sum(weights * field.solve_exactly(y0, ts, u))

    found = jax.value_and_grad(solved, argnums=(0, 1, 2))(field, y0, u)
    expected = jax.value_and_grad(exact, argnums=(0, 1, 2))(field, y0, u)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found, expected)


def test_without_a_constant_the_exact_solution_is_the_exponential_itself(x64):
    field = nj.fields.LinearField([[0.0, 2.0], [-2.0, 0.0]])
    ts = jnp.array([1.0, 0.0, 1.5])
    expected = [[np.cos(2 * t), -np.sin(2 * t)] for t in np.asarray(ts) - 1.0]
    np.testing.assert_allclose(field.solve_exactly(jnp.array([1.0, 0.0]), ts), expected, atol=1e-12)


def test_an_input_is_read_along_a_path(x64):
    field = nj.fields.LinearField([[0.0]], [[2.0]])
    path = nj.interpolate.Linear([0.0, 1.0], [[0.0], [3.0]])
    sol = nj.odeint(field, jnp.zeros(1), [0.0, 1.0], path, controller=CONTROLLER)
    np.testing.assert_allclose(sol.ys[-1], 2 * 1.5, rtol=1e-8)


@pytest.mark.parametrize(("structure", "symmetric"), [("skew", 0.0), ("stable", -1.0)])
def test_the_structure_starts_at_the_matrix_and_holds_for_any_weights(x64, structure, symmetric):
    random = np.random.default_rng(0)
    turn, root = random.normal(size=(2, 4, 4))
    matrix = turn - turn.T + symmetric * root @ root.T
    field = nj.fields.LinearField(matrix, structure=structure)
    np.testing.assert_allclose(field.matrix, matrix, atol=1e-12)
    other = jax.tree.map(lambda leaf: leaf + random.normal(size=leaf.shape), field)
    norms = np.linalg.norm(other.solve_exactly(jnp.ones(4), jnp.linspace(0.0, 3.0, 7)), axis=-1)
    if structure == "skew":
        np.testing.assert_allclose(norms, 2.0, rtol=1e-10)
    else:
        assert (np.diff(norms) <= 0).all()
        assert norms[-1] < norms[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nj.fields.LinearField(np.ones((2, 3))), r"shape \(dim, dim\), got \(2, 3\)"),
        (lambda: nj.fields.LinearField(MATRIX, np.ones((2, 1))), r"shape \(3, input\), got \(2, 1\)"),
        (lambda: nj.fields.LinearField(MATRIX, offset=np.ones(2)), r"shape \(3,\), got \(2,\)"),
        (lambda: nj.fields.LinearField(MATRIX, structure="skew"), "A = -Aᵀ for structure='skew'"),
        (lambda: nj.fields.LinearField(np.eye(2), structure="stable"), "no positive eigenvalue.*got 1"),
        (lambda: nj.fields.LinearField(MATRIX, structure="symmetric"), "'free', 'skew' or 'stable', got 'symmetric'"),
        (lambda: nj.fields.LinearField(MATRIX)(0.0, jnp.ones(2)), r"dim=3 entries, got shape \(2,\)"),
        (lambda: field_with_input()(0.0, jnp.ones(3)), "an input u with 2 entries in its last axis, got none"),
        (lambda: field_with_input()(0.0, jnp.ones(3), jnp.ones(3)), r"got shape \(3,\)"),
        (lambda: nj.fields.LinearField(MATRIX).solve_exactly(jnp.ones(3), 1.0), r"shape \(time,\), got \(\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
