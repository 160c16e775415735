"""The damped pendulum, all known but two numbers: the complete mechanism.

Question: How well are frequency and friction identified from exact data?
Expected: a validation loss below 1e-9, and omega0 and damping within 0.1 % of 1.047 and 0.2.
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/damped_pendulum_complete.py

Data as in Yin et al. (2021), arXiv:2010.04456: 25 trajectories of 40 rows, period 6, friction 0.2, no noise; 25 others
validate. `python -m experiments.physics.damped_pendulum` trains all four variants over five seeds.
"""

from node_jax.config import (
    Adam,
    CosineSchedule,
    FixedSteps,
    MultipleShooting,
    PendulumField,
    RollOut,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="damped_pendulum_complete",
    task=Trajectory(
        stages=(
            MultipleShooting(num_steps=1000, segment_steps=3),
            RollOut(num_steps=500),
        ),
        has_free_starts=False,
        transform="none",
    ),
    data=SimulatedData(
        system="damped-pendulum", duration=19.5, num_times=40, noise=0.0, num_series=25, num_held_out=25
    ),
    field=PendulumField(period=14.0, damping=0.1),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=Adam(lr=3e-2),
    schedule=CosineSchedule(final_fraction=0.001),
    train=Train(log_every=100, checkpoint_every=500),
)
