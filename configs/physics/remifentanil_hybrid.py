"""Remifentanil: does a clearance that a network corrects predict better than the published covariates alone?

Question: With the same samples and people held out as in remifentanil.py, does a network of concentration, age and lean
    mass that multiplies the clearance predict them better?
Expected: a mean log density of held-out samples that is higher by 0.03; no difference for held-out people that 65 could
    show (docs/results/physics/README.md).
Cost: a few minutes on 2 CPU cores.
Command: node-jax train configs/physics/remifentanil_hybrid.py
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
    name="remifentanil_hybrid",
    task=Population(
        random=("volume", "clearance", "volume_1", "flow_1"),
        effects=(
            "volume:age",
            "volume:lean mass",
            "clearance:age",
            "clearance:lean mass",
            "volume_1:age",
            "volume_1:lean mass",
            "flow_1:age",
            "flow_2:age",
        ),
        random_scale=0.3,
        additive=0.3,
        proportional=0.2,
        tolerance=1e-3,
    ),
    data=SubjectsData(name="remifentanil", held_out_samples=0.2, num_folds=5),
    field=Compartments(
        volume=5.0,
        clearance=2.5,
        flows=(1.5, 0.1),
        volumes=(9.0, 5.0),
        correction=ClearanceCorrection(scale=5.0, weight_penalty=1.0),
    ),
    controller=PIController(rtol=1e-4, atol=1e-3),
    max_steps=128,
    optimizer=Adam(lr=2e-2),
    schedule=CosineSchedule(final_fraction=0.01),
    train=Train(num_steps=160, log_every=20, checkpoint_every=80, clip_norm=None),
)
