"""Tableaus satisfy the order conditions of all rooted trees: the step, its embedded method, its dense output.

Conditions: Butcher (2016), Numerical Methods for Ordinary Differential Equations, chapter 3: a method is of order p if
and only if Σ_i b_i Φ_i(τ) = 1/γ(τ) for all trees τ with at most p vertices; a continuous extension if and only if
Σ_i b_i(θ) Φ_i(τ) = θ^|τ| / γ(τ) for all θ.
"""

import itertools

import numpy as np
import pytest
from numpy.polynomial.polynomial import polyval

from node_jax.interpolate.dense import bridge_polynomials
from node_jax.solvers import tableaus, tableaus_high_order
from node_jax.solvers.tableaus import ButcherTableau
from tests.solvers.rooted_trees import density, order_of, stage_weights, symmetry, trees_of_order, trees_up_to

TABLEAUS = [
    value
    for module in (tableaus, tableaus_high_order)
    for value in vars(module).values()
    if isinstance(value, ButcherTableau)
]
EMBEDDED = [tableau for tableau in TABLEAUS if tableau.error is not None]
THETAS = np.linspace(0.1, 0.9, 9)
"""More places than the polynomials b_i(θ) have coefficients: what holds at these holds everywhere."""

by_name = pytest.mark.parametrize("tableau", TABLEAUS, ids=lambda t: t.name)
by_embedded_name = pytest.mark.parametrize("tableau", EMBEDDED, ids=lambda t: t.name)


def _matrix(tableau):
    """Coefficients and nodes of all stages, those of the dense output included."""
    rows = ((), *tableau.a, *tableau.dense_a)
    a = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        a[i, : len(row)] = row
    return a, np.array((*tableau.c, *tableau.dense_c))


def _weights(tableau):
    """The weights of the step, over all stages."""
    return np.array((*tableau.weights, *(0.0 for _ in tableau.dense_c)))


def _extension(tableau, theta):
    """The b_i(θ)."""
    first, last = _ends(tableau)
    bridge = tableau.bridge or ((0.0,),) * len(first)
    bumps = theta**2 * (1 - theta) ** 2 * np.array([polyval(theta, q) for q in bridge])
    slopes = theta * (1 - theta) ** 2 * first - theta**2 * (1 - theta) * last
    return theta**2 * (3 - 2 * theta) * _weights(tableau) + slopes + bumps


def _ends(tableau):
    """The weights of the stages at the start and at the end alone."""
    first, last = np.zeros((2, len(tableau.c) + len(tableau.dense_c)))
    first[0] = last[len(tableau.c) - 1] = 1.0
    return first, last


def _residuals(a, weights, trees, theta=1.0):
    return [weights @ stage_weights(a, tree) - theta ** order_of(tree) / density(tree) for tree in trees]


def test_the_trees_are_all_rooted_trees():
    assert [len(trees_of_order(n)) for n in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert len(set(trees_up_to(8))) == 200
    assert all(order_of(tree) == 6 for tree in trees_of_order(6))


def test_densities_and_weights_are_those_of_the_textbook():
    """Hairer, Norsett & Wanner (1993), II.2, table 2.2, order 4; and the tall tree of order 5."""
    a, c = _matrix(tableaus.TSIT5)
    leaf = ()
    expected = {
        (leaf, leaf, leaf): (4, c**3),
        ((leaf,), leaf): (8, c * (a @ c)),
        ((leaf, leaf),): (12, a @ c**2),
        (((leaf,),),): (24, a @ a @ c),
        ((((leaf,),),),): (120, a @ a @ a @ c),
    }
    assert [symmetry(tree) for tree in expected] == [6, 1, 2, 1, 1]
    for tree, (gamma, weights) in expected.items():
        assert density(tree) == gamma
        np.testing.assert_allclose(stage_weights(a, tree), weights, atol=1e-14)


@by_name
def test_rows_sum_to_the_nodes(tableau):
    a, c = _matrix(tableau)
    np.testing.assert_allclose(a.sum(axis=1), c, atol=1e-14)


@by_name
def test_the_step_has_its_order_and_no_higher_one(tableau):
    a, _ = _matrix(tableau)
    weights = _weights(tableau)
    np.testing.assert_allclose(_residuals(a, weights, trees_up_to(tableau.order)), 0, atol=2e-14)
    if tableau.order < 8:
        assert np.max(np.abs(_residuals(a, weights, trees_of_order(tableau.order + 1)))) > 1e-5


@by_embedded_name
def test_the_embedded_method_is_of_one_order_less(tableau):
    a, _ = _matrix(tableau)
    error = np.array((*tableau.error, *(0.0 for _ in tableau.dense_c)))
    embedded = _weights(tableau) - error
    np.testing.assert_allclose(_residuals(a, embedded, trees_up_to(tableau.order - 1)), 0, atol=2e-14)
    assert np.max(np.abs(_residuals(a, embedded, trees_of_order(tableau.order)))) > 1e-5


@by_name
def test_the_dense_output_has_its_order_and_no_higher_one(tableau):
    a, _ = _matrix(tableau)
    for theta in THETAS:
        residuals = _residuals(a, _extension(tableau, theta), trees_up_to(tableau.dense_order), theta)
        np.testing.assert_allclose(residuals, 0, atol=1e-13)
    residuals = _residuals(a, _extension(tableau, 0.6), trees_of_order(tableau.dense_order + 1), 0.6)
    assert np.max(np.abs(residuals)) > 1e-6


@by_name
def test_the_polynomials_of_an_extension_are_found_again(tableau):
    weights = _weights(tableau)
    expected = np.array(tableau.bridge or ((0.0,),) * len(weights))
    thetas = np.linspace(0, 1, 4 + expected.shape[1])
    sampled = np.array([_extension(tableau, theta) for theta in thetas]).T
    extension = np.linalg.solve(np.vander(thetas, increasing=True), sampled.T).T
    found = bridge_polynomials(extension.tolist(), weights, len(tableau.c) - 1)
    for q, polynomial in zip(expected, found, strict=True):
        np.testing.assert_allclose(polyval(THETAS, polynomial), polyval(THETAS, q), atol=1e-9)


def test_an_extension_that_does_not_meet_the_field_at_both_ends_is_refused():
    """The line from y0 to y1 has the mean of the slopes."""
    for weight in (0.5, np.nan):
        with pytest.raises(ValueError, match=r"meet the field at both ends.*b'\(0\) = 1\.0"):
            bridge_polynomials(((0.0, weight), (0.0, weight), (0.0, 0.0)), tableaus.HEUN.weights)


def test_the_dense_output_of_bosh5_has_the_least_principal_error():
    """At every θ: Σ_τ (residual(τ, θ) / σ(τ))² over trees of order 5 grows in both directions that leave order 4."""
    tableau = tableaus.BOSH5
    a, _ = _matrix(tableau)
    principal = np.array([stage_weights(a, tree) / symmetry(tree) for tree in trees_of_order(5)])
    right = np.array([1 / density(tree) / symmetry(tree) for tree in trees_of_order(5)])

    def error(theta, change):
        extension = _extension(tableau, theta) + theta**2 * (1 - theta) ** 2 * change
        return np.sum((principal @ extension - theta**5 * right) ** 2)

    conditions = np.array([stage_weights(a, tree) for tree in trees_up_to(4)])
    _, sizes, directions = np.linalg.svd(conditions)
    free = directions[np.sum(sizes > 1e-10) :]
    assert len(free) == 2
    for theta, direction in itertools.product(THETAS, (*free, free[0] + free[1])):
        below, here, above = (error(theta, step * direction) for step in (-1.0, 0.0, 1.0))
        assert min(below, above) > 1.01 * here
        # A parabola with equal values on both sides has its vertex between them.
        np.testing.assert_allclose(below, above, rtol=1e-9)


def test_stages_for_dense_output_alone_have_arguments_of_order_six():
    """One order less than the dense output that they serve: f(t, Y) enters it times dt."""
    tableau = tableaus_high_order.DOPRI8
    a, c = _matrix(tableau)
    for row, node in zip(a[len(tableau.c) :], c[len(tableau.c) :], strict=True):
        np.testing.assert_allclose(_residuals(a, row, trees_up_to(6), node), 0, atol=1e-15)


def test_dopri8_without_its_dense_stages_has_no_extension_of_order_six():
    """The reason for the extra stages: the conditions of order 6 are then unsolvable but for the nodes (1 ± 1/√7)/2."""
    tableau = tableaus_high_order.DOPRI8
    stages = len(tableau.c)
    a = _matrix(tableau)[0][:stages, :stages]
    trees = trees_up_to(6)
    conditions = np.array([stage_weights(a, tree) for tree in trees])

    def distance(theta):
        right = np.array([theta ** order_of(tree) / density(tree) for tree in trees])
        solution = np.linalg.lstsq(conditions, right, rcond=1e-11)[0]
        return np.max(np.abs(conditions @ solution - right))

    lobatto = tableau.dense_c[0]
    assert max(distance(lobatto), distance(1 - lobatto)) < 1e-14
    assert min(distance(theta) for theta in (0.2, 0.5, 0.8)) > 1e-7
    assert 7 * (2 * lobatto - 1) ** 2 == pytest.approx(1)
