"""Hare and lynx: the four rates of Lotka and Volterra from sixty years of pelts, with intervals.

Question: Fitted as one solve over 1845-1904 with log-normal noise, which rates have hare and lynx, and how well do the
    pelts determine them?
Expected: rates between 0.4 and 0.8 a year with 90 % intervals of about half of each on either side (report.md), and a
    noise of 0.8 in log pelts: cycles of one size explain less than half of the variance. `python -m
    experiments.physics.hare_lynx` holds a bootstrap and other years against the intervals.
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/hare_lynx_identified.py
"""

from node_jax.config import (
    LBFGS,
    FixedSteps,
    HareLynxData,
    LotkaVolterraField,
    MultipleShooting,
    RollOut,
    Run,
    Train,
    Trajectory,
)

CONFIG = Run(
    name="hare_lynx_identified",
    task=Trajectory(
        stages=(MultipleShooting(num_steps=100, segment_steps=10, continuity=(1.0, 1.0)), RollOut(num_steps=100)),
        transform="log",
    ),
    data=HareLynxData(years=(1845.0, 1904.0)),
    # A period of ten years.
    field=LotkaVolterraField(growth=0.6, predation=0.6, reproduction=0.6, death=0.6),
    controller=FixedSteps(n=2),
    max_steps=512,
    optimizer=LBFGS(),
    train=Train(log_every=20, checkpoint_every=20),
)
