"""Theophylline: does a clearance that a network corrects predict what one compartment misses?

Question: With a fifth of each person's samples and a quarter of the people held out, does one compartment whose
    clearance depends on concentration and weight, by a network of 8 units, predict them better than with a constant
    clearance?
Expected: no gain that 12 people could show; the study gives the difference with its interval
    (docs/results/physics/README.md).
Cost: about a minute on 2 CPU cores.
Command: node-jax train configs/physics/theophylline_hybrid.py
"""

from node_jax.config import (
    Adam,
    ClearanceCorrection,
    Compartments,
    CosineSchedule,
    PIController,
    Population,
    Run,
    SubjectsData,
    Train,
)

CONFIG = Run(
    name="theophylline_hybrid",
    task=Population(random=("absorption", "clearance"), additive=0.7),
    data=SubjectsData(name="theophylline", held_out_samples=0.2, num_folds=4),
    field=Compartments(
        elimination=0.1,
        absorption=1.5,
        clearance=0.05,
        correction=ClearanceCorrection(scale=5.0, weight_penalty=1.0),
    ),
    controller=PIController(rtol=1e-4, atol=1e-4),
    max_steps=128,
    optimizer=Adam(lr=3e-2),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=200, log_every=20, checkpoint_every=100, clip_norm=None),
)
