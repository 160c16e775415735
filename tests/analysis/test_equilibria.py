"""Equilibria of fields in closed form, with their eigenvalues and names, and what is drawn of them."""

import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.analysis import draw_correction, draw_phase_portrait, find_equilibria
from node_jax.fields import DampedPendulum, LotkaVolterra

OMEGA, ALPHA = 2 * np.pi / 6, 0.2


def test_a_pendulum_rests_below_and_above():
    below, above = find_equilibria(DampedPendulum(6.0, ALPHA), [-1.0, -2.0], [5.0, 2.0])
    np.testing.assert_allclose([below.state, above.state], [[0, 0], [np.pi, 0]], atol=1e-5)
    assert (below.kind, above.kind) == ("stable focus", "saddle")
    assert below.is_stable
    assert not above.is_stable
    turns = np.sqrt(OMEGA**2 - ALPHA**2 / 4)
    np.testing.assert_allclose(np.sort(below.eigenvalues.imag), [-turns, turns], rtol=1e-4)
    np.testing.assert_allclose(below.eigenvalues.real, -ALPHA / 2, rtol=1e-4)
    np.testing.assert_allclose(
        above.eigenvalues, -ALPHA / 2 + np.sqrt(OMEGA**2 + ALPHA**2 / 4) * np.array([1, -1]), rtol=1e-4
    )


def test_predator_and_prey_circle_around_one_and_leave_the_other():
    none, both = find_equilibria(LotkaVolterra(1.5, 1.0, 1.0, 3.0), [-0.5, -0.5], [5.0, 4.0])
    np.testing.assert_allclose([none.state, both.state], [[0, 0], [3.0, 1.5]], atol=1e-5)
    assert (none.kind, both.kind) == ("saddle", "centre")
    np.testing.assert_allclose(none.eigenvalues, [1.5, -3.0], rtol=1e-4)
    np.testing.assert_allclose(np.abs(both.eigenvalues.imag), np.sqrt(1.5 * 3.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        ([[-1.0, 0.0], [0.0, -2.0]], "stable node"),
        ([[2.0, 0.0], [0.3, 1.0]], "unstable node"),
        ([[0.5, 3.0], [-3.0, 0.5]], "unstable focus"),
        ([[-1.0, 0.0], [0.0, 0.0]], "degenerate"),
    ],
)
def test_equilibria_are_named_by_their_linear_part(matrix, kind):
    values = np.linalg.eigvals(np.array(matrix)).astype(complex)
    assert nj.analysis.Equilibrium(np.zeros(2), values).kind == kind


def test_a_field_without_rest_has_no_equilibrium_and_corners_are_checked():
    assert find_equilibria(lambda t, y, args: 1 + y**2, [-1.0], [1.0]) == []
    with pytest.raises(nj.UsageError, match="corners low < high"):
        find_equilibria(LotkaVolterra(), [1.0, 1.0], [0.0, 2.0])


def test_portraits_and_corrections_are_drawn(tmp_path):
    box = [-3.0, -2.0], [4.0, 2.0]
    path = [np.stack([np.linspace(-1, 1, 5), np.linspace(0, 1, 5)], 1)]
    fields = {"learned": DampedPendulum(6.0), "true": DampedPendulum(6.0, ALPHA)}
    found = draw_phase_portrait(fields, box, tmp_path / "portrait.png", names=("q", "p"), trajectories=path)
    assert [e.kind for e in found["learned"]] == ["centre", "saddle"]

    def friction(t, y, args):
        return jnp.stack([0 * y[0], -ALPHA * y[1]])

    draw_correction(lambda t, y, args: 0 * y, friction, box, tmp_path / "correction.png", trajectories=path)
    assert all((tmp_path / name).stat().st_size > 1e4 for name in ("portrait.png", "correction.png"))
    with pytest.raises(nj.UsageError, match="two variables"):
        draw_correction(friction, friction, ([0.0], [1.0]), tmp_path / "no.png")
