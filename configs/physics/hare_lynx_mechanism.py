"""Hare and lynx: how well does Lotka-Volterra alone forecast the fur returns?

Question: Fitted to the pelts of 1845-1904 by short solves, how well does the plain mechanism forecast 1905-1935 in one
    solve, beside `hare_lynx_hybrid.py`, the same with a network for what it misses?
Expected: a root mean square error in log pelts of 0.86 over the 31 held-out years, 0.72 over the first ten (0.78 and
    0.56 with a network).
Cost: half a minute on 2 CPU cores.
Command: node-jax train configs/physics/hare_lynx_mechanism.py
"""

from node_jax.config import AdamW, Forecast, LotkaVolterraField, Run, Train

CONFIG = Run(
    name="hare_lynx_mechanism",
    task=Forecast(train_until=1904, segment_steps=10, time_scale=5.0, transform="log"),
    field=LotkaVolterraField(),
    optimizer=AdamW(lr=1e-2, weight_decay=1e-3),
    train=Train(num_steps=1000, log_every=50, checkpoint_every=500),
)
