"""Lorenz: does multiple shooting learn a chaotic field from short noisy series?

Question: From 16 series of 4.5 Lyapunov times with 1 % noise, does a network fitted by collocation and multiple
    shooting forecast trajectories that start elsewhere on the attractor?
Expected: median valid times of four Lyapunov times (`python -m experiments.curriculum --only lorenz` measures them;
    docs/curricula.md); here, a validation loss near 1e-4 over solves of half a time unit.
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/lorenz.py
"""

from node_jax.config import (
    Adam,
    Collocation,
    ConstantStep,
    CosineSchedule,
    MLPField,
    MultipleShooting,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="lorenz",
    task=Trajectory(
        stages=(
            Collocation(num_steps=1000, batch_size=256),
            MultipleShooting(num_steps=3000, segment_steps=10, continuity=(1.0, 10.0), batch_size=100),
        ),
        validation_steps=25,
        time_scale=0.2,
    ),
    data=SimulatedData(system="lorenz", duration=5.0, num_times=251, noise=0.01, num_series=16, num_held_out=4),
    field=MLPField(width=64, depth=2, activation="silu", final_scale=1.0),
    controller=ConstantStep(dt=0.25),
    max_steps=128,
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(log_every=100, checkpoint_every=500),
)
