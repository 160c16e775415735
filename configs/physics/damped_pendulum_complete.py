"""The damped pendulum, all known but two numbers: the complete mechanism.

Question: How well are frequency and friction identified from exact data?
Expected: a validation loss below 1e-9, and omega0 and damping within 0.1 % of 1.047 and 0.2.
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/damped_pendulum_complete.py

The numbers expected are those in float64, with JAX_ENABLE_X64=1 in the environment: in float32 the line search of
L-BFGS stops where it sees nothing but rounding. Data as in Yin et al. (2021), arXiv:2010.04456: 25 trajectories of 40
rows, period 6, friction 0.2, no noise; 25 others validate. `python -m experiments.physics.damped_pendulum` trains all
four variants over five seeds, in float64.
"""

from node_jax.config import (
    LBFGS,
    FixedSteps,
    MultipleShooting,
    PendulumField,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="damped_pendulum_complete",
    task=Trajectory(
        stages=(MultipleShooting(num_steps=60, segment_steps=5, continuity=(1.0, 1.0)),),
        has_free_starts=False,
        transform="none",
    ),
    data=SimulatedData(
        system="damped-pendulum", duration=19.5, num_times=40, noise=0.0, num_series=25, num_held_out=25
    ),
    field=PendulumField(period=14.05, damping=0.1),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=LBFGS(memory_size=50),
    train=Train(log_every=20, checkpoint_every=20),
)
