"""Theophylline in the blood of twelve people."""

import numpy as np

from node_jax.data.store import load_table
from node_jax.data.subjects import Subjects


def load_theoph() -> Subjects:
    """Theophylline in the serum of 12 people over 25 hours after one oral dose, 11 samples each.

    Times are in h, concentrations in mg/l, doses in mg per kg of body weight at time 0, so that volumes and clearances
    are per kg. The covariate is `weight`, log(weight / 70 kg).

    Source: Upton, in Boeckmann, Sheiner & Beal (1994), NONMEM Users Guide, part V; data set `Theoph` of R. It is
    fetched once: `node-jax data get Theoph`.

    Raises:
        DataError: where it cannot be fetched.
    """
    table = load_table("Theoph")
    ids = np.unique(table["Subject"])
    rows = [np.flatnonzero(table["Subject"] == i) for i in ids]
    first = np.array([row[0] for row in rows])
    return Subjects(
        ids=tuple(str(i) for i in ids),
        times=np.stack([table["Time"][row] for row in rows]),
        values=np.stack([table["conc"][row] for row in rows]),
        dose_times=np.zeros((len(ids), 1)),
        dose_amounts=table["Dose"][first][:, None],
        covariates=np.log(table["Wt"][first] / 70)[:, None],
        covariate_names=("weight",),
        time_unit="h",
        value_unit="mg/l",
        source="theophylline (Boeckmann, Sheiner & Beal 1994)",
    )
