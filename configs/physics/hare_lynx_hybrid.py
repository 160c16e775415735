"""Hare and lynx: does a network that is kept small forecast the fur returns better than Lotka-Volterra alone?

Question: Fitted to the pelts of 1845-1904 by short solves, how well does Lotka-Volterra with a network for what it
    misses, as small as the fit allows, forecast 1905-1935 in one solve, beside the mechanism alone?
Expected: a root mean square error in log pelts of about 0.78 over the 31 held-out years, 0.86 without the network.
Cost: a minute on 2 CPU cores.
Command: node-jax train configs/physics/hare_lynx_hybrid.py
"""

from node_jax.config import AdamW, Forecast, Hybrid, LotkaVolterraField, MLPField, Regularize, Run, Train

CONFIG = Run(
    name="hare_lynx_hybrid",
    task=Forecast(train_until=1904, segment_steps=10, time_scale=5.0, transform="log"),
    field=Hybrid(mechanism=LotkaVolterraField(), residual=MLPField(width=16, depth=2)),
    optimizer=AdamW(lr=1e-2, weight_decay=1e-3),
    regularize=Regularize(residual=1e-3),
    train=Train(num_steps=2000, log_every=50, checkpoint_every=500),
)
