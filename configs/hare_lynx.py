"""Hare and lynx: does a neural correction to Lotka-Volterra forecast the fur returns?

Question: Fitted to the Hudson Bay pelts of 1845-1904, how well do Lotka-Volterra plus a small network forecast
    1905-1935 in one solve, beside a pure neural ODE, the last value, and a vector autoregression?
Expected: a root mean square error of about 0.78 in log pelts over the 31 held-out years, 0.75 for the pure neural ODE,
    1.00 for the autoregression, 1.55 for the last value (docs/configs.md tells how to read the report).
Cost: under a minute on 2 CPU cores.
Command: node-jax train configs/hare_lynx.py
"""

from node_jax.config import AdamW, Forecast, HybridLotkaVolterra, MLPField, Run, Train

CONFIG = Run(
    name="hare_lynx",
    task=Forecast(train_until=1904, segment_steps=10, time_scale=5.0, transform="log"),
    field=HybridLotkaVolterra(residual=MLPField(width=16, depth=2)),
    reference=MLPField(width=16, depth=2),
    optimizer=AdamW(lr=1e-2, weight_decay=1e-3),
    train=Train(num_steps=2000, log_every=50, checkpoint_every=500),
)
