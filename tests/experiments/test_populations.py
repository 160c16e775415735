"""Intervals over resampled people keep the samples of one together."""

import numpy as np

from experiments.physics.populations import bootstrap


def test_the_interval_is_over_people_and_not_over_samples():
    draw = np.random.default_rng(0)
    of_people = draw.normal(size=30)
    subjects = np.repeat(np.arange(30), 50)
    low, high = bootstrap(of_people[subjects], subjects)
    wanted = 2 * 1.645 * of_people.std() / np.sqrt(30)
    assert abs((high - low) / wanted - 1) < 0.1
    assert low < of_people.mean() < high
