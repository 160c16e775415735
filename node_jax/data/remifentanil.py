"""Remifentanil, an opioid of short action, infused into 65 people."""

import numpy as np

from node_jax.data.ragged import ragged
from node_jax.data.store import load_table
from node_jax.data.subjects import Subjects


def load_remifentanil() -> Subjects:
    """Remifentanil in the arterial blood of 65 people during and after an infusion of 4 to 20 minutes, 1992 samples.

    Times are in min, concentrations in ng/ml = µg/l, rates of infusion in µg/min, so that volumes are in l and
    clearances in l/min. Covariates are those of Minto et al.: `age`, (age - 40 years) / 20, and `lean mass`, (lean body
    mass - 55 kg) / 10. The least value is 0.1 ng/ml; no value below a limit of quantification is in the table.

    Source: Minto, Schnider, Egan et al. (1997), Anesthesiology 86, 10-23, doi:10.1097/00000542-199701000-00004; data
    set `Remifentanil` of the R package nlme. It is fetched once: `node-jax data get Remifentanil`.

    Raises:
        DataError: where it cannot be fetched.
    """
    table = load_table("Remifentanil")
    ids = np.unique(table["ID"])
    rows = [np.flatnonzero(table["ID"] == i) for i in ids]
    first = np.array([row[0] for row in rows])
    # Every table begins with a row without a sample at the start of the infusion.
    batch = ragged([table["Time"][row] for row in rows], [table["conc"][row][:, None] for row in rows])
    changes = [row[np.r_[True, np.diff(table["Rate"][row]) != 0]] for row in rows]
    knots = ragged([table["Time"][row] for row in changes], [table["Rate"][row][:, None] for row in changes])
    return Subjects(
        ids=tuple(str(i) for i in ids),
        times=batch.times,
        values=np.where(batch.mask, batch.values, np.nan)[..., 0],
        dose_times=np.zeros((len(ids), 0)),
        dose_amounts=np.zeros((len(ids), 0)),
        covariates=np.stack([(table["Age"][first] - 40) / 20, (table["LBM"][first] - 55) / 10], axis=1),
        covariate_names=("age", "lean mass"),
        rate_times=knots.times,
        # The rate after the last change is zero, and so is the padding.
        rates=knots.values[..., 0],
        time_unit="min",
        value_unit="ng/ml",
        source="remifentanil (Minto et al. 1997)",
    )
