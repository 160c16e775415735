"""Motions to one place from one side: does a field that cannot diverge arrive from the other sides too?

Question: x'' = -x - x³ - 2.5 x' from four starts side by side, with 5 % noise, as motions that a hand has shown. Where
    do solves of a stable field, whose Lyapunov function is learned with it, end that start on the other sides?
Expected: every start arrives; `python -m experiments.physics.stable` measures it over five seeds, beside networks
    (docs/results/physics/README.md).
Cost: a minute on 2 CPU cores, most of it compilation.
Command: node-jax train configs/physics/stable_dynamics.py
"""

from node_jax.config import (
    RK4,
    Adam,
    Collocation,
    CosineSchedule,
    DampedOscillatorData,
    FixedSteps,
    MLPField,
    MultipleShooting,
    RollOut,
    Run,
    StableDynamics,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="stable_dynamics",
    task=Trajectory(
        stages=(
            Collocation(num_steps=300),
            MultipleShooting(num_steps=300, segment_steps=10),
            RollOut(num_steps=300),
        ),
        transform="none",
    ),
    data=DampedOscillatorData(damping=2.5, arc=0.15),
    field=StableDynamics(width=32, depth=2, rate=0.01),
    reference=MLPField(width=32, depth=2, final_scale=1.0),
    solver=RK4(),
    controller=FixedSteps(n=1),
    max_steps=64,
    optimizer=Adam(lr=5e-3),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(log_every=100, checkpoint_every=300),
)
