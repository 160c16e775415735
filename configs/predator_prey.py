"""Predator and prey: does a curriculum fit five periods of noisy data with a network as the field?

Question: From 101 rows with 5 % noise over five periods, does a network fitted by collocation, multiple shooting and a
    final roll-out follow the true trajectory?
Expected: a relative root mean square error against the truth of about 0.03 (0.2 for a roll-out alone, which is
    `--task.stages` with RollOut only; docs/curricula.md).
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/predator_prey.py
"""

from node_jax.config import (
    RK4,
    Adam,
    Collocation,
    CosineSchedule,
    FixedSteps,
    MLPField,
    MultipleShooting,
    RollOut,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="predator_prey",
    task=Trajectory(
        stages=(
            Collocation(num_steps=400),
            MultipleShooting(num_steps=600, segment_steps=10, continuity=(1.0, 10.0)),
            RollOut(num_steps=1000),
        ),
    ),
    data=SimulatedData(system="lotka-volterra", duration=16.6, num_times=101, noise=0.05),
    field=MLPField(width=32, depth=2, final_scale=1.0),
    solver=RK4(),
    controller=FixedSteps(n=1),
    max_steps=512,
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(log_every=50, checkpoint_every=200),
)
