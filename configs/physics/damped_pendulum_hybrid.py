"""The damped pendulum, friction unknown: an incomplete mechanism and a network for the rest.

Question: Does a network find the friction that the mechanism misses, and leave the frequency to it?
Expected: a validation loss below 3e-8, and omega0 within 1 % of 1.047.
Cost: two minutes on 2 CPU cores.
Command: node-jax train configs/physics/damped_pendulum_hybrid.py

The numbers expected are those in float64, with JAX_ENABLE_X64=1 in the environment: in float32 the line search of
L-BFGS stops where it sees nothing but rounding. Data as in Yin et al. (2021), arXiv:2010.04456: 25 trajectories of 40
rows, period 6, friction 0.2, no noise; 25 others validate. `python -m experiments.physics.damped_pendulum` trains all
four variants over five seeds, in float64.
"""

from node_jax.config import (
    LBFGS,
    FixedSteps,
    Hybrid,
    MLPField,
    MultipleShooting,
    PendulumField,
    Regularize,
    Run,
    SimulatedData,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="damped_pendulum_hybrid",
    task=Trajectory(
        stages=(MultipleShooting(num_steps=600, segment_steps=5, continuity=(1.0, 1.0)),),
        has_free_starts=False,
        transform="none",
    ),
    data=SimulatedData(
        system="damped-pendulum", duration=19.5, num_times=40, noise=0.0, num_series=25, num_held_out=25
    ),
    field=Hybrid(mechanism=PendulumField(period=14.05), residual=MLPField(width=32, depth=2, activation="softplus")),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=LBFGS(memory_size=50),
    # So small that the fit is exact: of all divisions between the two that fit, the one with the least residual.
    regularize=Regularize(residual=4e-6, residual_is_relative=True),
    train=Train(log_every=50, checkpoint_every=50),
)
