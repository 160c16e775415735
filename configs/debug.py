"""The whole road in seconds: two steps of training, a checkpoint at each, a report.

Question: Does everything run from config to report?
Expected: a report; its numbers mean nothing after two steps.
Cost: seconds.
Command: node-jax train configs/debug.py
"""

from node_jax.config import Forecast, HybridLotkaVolterra, MLPField, Run, Train

CONFIG = Run(
    name="debug",
    task=Forecast(train_until=1904, segment_steps=5, batch_size=8),
    field=HybridLotkaVolterra(residual=MLPField(width=4, depth=1)),
    reference=MLPField(width=4, depth=1),
    train=Train(num_steps=2, log_every=1, checkpoint_every=1),
    max_steps=64,
)
