"""A crash test: a motion of second order and its noise, from 133 readings of an acceleration.

Question: Does d²x/dt² = a(t, x, v), with a network for a and a noise that changes in time, give intervals for the head
    acceleration in a motorcycle crash that hold as many of the readings it has not seen as they should?
Expected: a root mean square error near 23 g at the tenth that is held out, as a smoothing spline has, and intervals of
    50 and 90 % that hold somewhat fewer, 45 and 83 %; `python -m experiments.physics.crash_test` measures it over ten
    folds and five seeds each (docs/results/physics/README.md).
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/crash_test.py
"""

from node_jax.config import (
    RK4,
    AdamW,
    CosineSchedule,
    CrashTestData,
    FixedSteps,
    NoisyReadings,
    Run,
    SecondOrder,
    Train,
)

CONFIG = Run(
    name="crash_test",
    task=NoisyReadings(time_scale=10.0, noise_knots=8, num_folds=10),
    data=CrashTestData(),
    field=SecondOrder(width=32, depth=2, is_time_dependent=True, final_scale=1.0),
    solver=RK4(),
    controller=FixedSteps(n=1),
    max_steps=128,
    optimizer=AdamW(lr=1e-2, weight_decay=1e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=4000, log_every=200, checkpoint_every=2000),
)
