"""Trajectories say what is missing and what is padding; simulated ones are what they say."""

import numpy as np
import pytest

import node_jax as nj

TIMES, VALUES = np.arange(4.0)[None], np.ones((1, 4, 1))


def test_series_of_different_lengths_are_padded():
    series = [
        nj.data.TimeSeries(np.arange(float(n)), np.ones((n, 2)), ("a", "b"), "day", "count", "here") for n in (3, 5)
    ]
    data = nj.data.as_trajectories(series)
    assert data.lengths.tolist() == [3, 5]
    assert data.times[0].tolist() == [0, 1, 2, 2, 2]
    assert data.mask.all(-1).tolist() == [[True, True, True, False, False], [True] * 5]
    assert data.names == ("a", "b")
    assert nj.data.as_trajectories(data) is data
    assert nj.data.as_trajectories(series[0]).times.shape == (1, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TIMES[0], VALUES[0]), r"times\[None\]"),
        ((TIMES[:, ::-1], VALUES), "strictly increasing"),
        ((np.array([[0.0, 1.0, 1.0, 2.0]]), VALUES), "strictly increasing"),
        ((np.array([[0.0, 1.0, 2.0, 2.0]]), VALUES), "NaN in the rows that only repeat"),
        ((TIMES, np.where(TIMES[..., None] == 2, np.nan, VALUES)), "has_missing=True"),
        ((TIMES, np.where(TIMES[..., None] == 2, np.inf, VALUES)), "row 3"),
    ],
)
def test_what_is_no_trajectory_is_refused(arguments, message):
    with pytest.raises(nj.UsageError, match=message):
        nj.data.Trajectories(*arguments, ("a",))


def test_missing_values_are_declared():
    data = nj.data.Trajectories(TIMES, np.where(TIMES[..., None] == 2, np.nan, VALUES), ("a",), has_missing=True)
    assert data.mask[0, :, 0].tolist() == [True, True, False, True]
    with pytest.raises(nj.UsageError, match="measured somewhere"):
        nj.data.Trajectories(TIMES, VALUES * np.nan, ("a",), has_missing=True)


def test_simulated_predator_and_prey_keep_their_invariant_and_have_the_noise_that_was_asked_for():
    field = nj.fields.LotkaVolterra()
    starts, times = np.array([[1.0, 1.0], [2.0, 1.0]]), np.linspace(0.0, 10.0, 301)
    data = nj.data.simulate(field, starts, times, noise=0.05, seed=3)
    growth, predation, reproduction, death = np.asarray(field.rates, float)
    prey, predator = data.truth[..., 0], data.truth[..., 1]
    invariant = reproduction * prey - death * np.log(prey) + predation * predator - growth * np.log(predator)
    assert np.ptp(invariant, axis=1).max() < 1e-8
    np.testing.assert_allclose(
        (data.values - data.truth).std(axis=(0, 1)), 0.05 * data.truth.std(axis=(0, 1)), rtol=0.1
    )
    again = nj.data.simulate(field, starts, times, noise=0.05, seed=4)
    np.testing.assert_array_equal(again.truth, data.truth)
    assert (again.values != data.values).all()


def test_the_lorenz_field_vanishes_at_its_fixed_points_and_states_of_other_sizes_are_refused():
    root = np.sqrt(8 / 3 * 27)
    for state in ([0.0, 0.0, 0.0], [root, root, 27.0], [-root, -root, 27.0]):
        np.testing.assert_allclose(nj.fields.Lorenz()(0.0, np.array(state)), 0.0, atol=1e-4)
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\)"):
        nj.fields.Lorenz()(0.0, np.ones(2))
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        nj.fields.LotkaVolterra()(0.0, np.ones(3))
    with pytest.raises(nj.UsageError, match=r"y0s \(series, dim\)"):
        nj.data.simulate(nj.fields.Lorenz(), np.ones(3), np.arange(3.0))
