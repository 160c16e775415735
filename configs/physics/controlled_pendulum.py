"""A pendulum under random torques: does a field that is a mechanical system learn it for other torques and long times?

Question: From 64 series of one time unit with 1 % noise, under torques that change at random, does a port-Hamiltonian
    field of networks (energy, friction, where the torque acts) predict ten time units under torques that it has not
    seen, and is its energy that of the pendulum?
Expected: a validation loss below 1e-3; `python -m experiments.physics.control` measures the rest over five seeds,
    beside a network of the same data (docs/results/physics/README.md).
Cost: a minute on 2 CPU cores.
Command: node-jax train configs/physics/controlled_pendulum.py
"""

from node_jax.config import (
    RK4,
    Adam,
    ControlledPendulumData,
    CosineSchedule,
    FixedSteps,
    MLPField,
    MultipleShooting,
    PortHamiltonian,
    RollOut,
    Run,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="controlled_pendulum",
    task=Trajectory(
        stages=(
            MultipleShooting(num_steps=1000, segment_steps=5, continuity=(1.0, 10.0)),
            RollOut(num_steps=300),
        ),
        transform="none",
    ),
    data=ControlledPendulumData(damping=0.2, noise=0.01, num_series=64, num_held_out=32),
    field=PortHamiltonian(width=32, depth=1, angles=(0,)),
    reference=MLPField(width=64, depth=2, final_scale=1.0),
    solver=RK4(),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(log_every=100, checkpoint_every=300),
)
