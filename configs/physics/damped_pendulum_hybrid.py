"""The damped pendulum, friction unknown: an incomplete mechanism and a network for the rest.

Question: Does a network find the friction that the mechanism misses, and leave the frequency to it?
Expected: a validation loss below 3e-8, and omega0 within 5 % of 1.047.
Cost: two minutes on 2 CPU cores.
Command: node-jax train configs/physics/damped_pendulum_hybrid.py

Data as in Yin et al. (2021), arXiv:2010.04456: 25 trajectories of 40 rows, period 6, friction 0.2, no noise; 25 others
validate. `python -m experiments.physics.damped_pendulum` trains all four variants over five seeds.
"""

from node_jax.config import (
    Adam,
    CosineSchedule,
    FixedSteps,
    Hybrid,
    MLPField,
    MultipleShooting,
    PendulumField,
    Regularize,
    RollOut,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="damped_pendulum_hybrid",
    task=Trajectory(
        stages=(
            MultipleShooting(num_steps=5000, segment_steps=3),
            RollOut(num_steps=1000),
        ),
        has_free_starts=False,
        transform="none",
    ),
    data=SimulatedData(
        system="damped-pendulum", duration=19.5, num_times=40, noise=0.0, num_series=25, num_held_out=25
    ),
    field=Hybrid(mechanism=PendulumField(period=14.0), residual=MLPField(width=32, depth=2, activation="softplus")),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=Adam(lr=1e-2),
    schedule=CosineSchedule(final_fraction=0.001),
    # Least residual under the constraint of an exact fit, as in the paper.
    regularize=Regularize(residual=1.0, residual_is_relative=True, constraint_rate=1e4),
    train=Train(log_every=100, checkpoint_every=500),
)
