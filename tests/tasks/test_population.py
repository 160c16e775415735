"""A population is fitted by its marginal likelihood: doses, infusions and censored values of each subject count."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from node_jax.models import AbstractIndividual, CompartmentIndividual
from node_jax.tasks import Phase, PopulationModel, PopulationTask, each_sample, score

_START = {"clearance": np.log(0.5), "volume": np.log(2.0)}
_GRID = nj.Integrator(nj.RK4(), nj.FixedSteps(2), max_steps=16)


class _Exact(AbstractIndividual):
    """The same compartment by its closed form, which fails beyond a time."""

    @property
    def names(self):
        return ("clearance", "volume")

    def predict(self, parameters, times, regimen, integrator):
        cleared, volume = jnp.exp(parameters)
        k = cleared / volume
        bolus = regimen.dose_amounts[0] / volume * jnp.exp(-k * times)
        during, after = jnp.minimum(times, 2.0), jnp.maximum(times - 2.0, 0.0)
        rate = regimen.infusion.values[0]
        found = bolus + rate / cleared * (1 - jnp.exp(-k * during)) * jnp.exp(-k * after)
        return jnp.where(times < 200, found, jnp.nan)


def _model(key=None, correction=None, individual=None, **options):
    options = {"random": ("clearance", "volume"), "covariate_names": ("weight",)} | options
    options |= {"covariate_effects": (("clearance", "weight"),)} if "covariate_effects" not in options else {}
    individual = individual or CompartmentIndividual(("clearance", "volume"), correction)
    return PopulationModel(individual, nj.losses.ResidualError(0.05, 0.1), _START, **options)


def _subjects(num=6, seed=0):
    """One dose at 0, or an infusion until 2, of subjects that differ."""
    draw = np.random.default_rng(seed)
    times = np.broadcast_to([0.0, 0.5, 1.0, 2.0, 4.0, 7.0], (num, 6))
    amounts = np.where(np.arange(num) % 2, 10.0, 0.0)[:, None]
    rates = np.where(np.arange(num)[:, None] % 2, 0.0, [[5.0, 0.0]])
    weight = draw.normal(size=num)
    cleared = 0.5 * np.exp(0.3 * draw.normal(size=num) + 0.4 * weight)
    volume = 2.0 * np.exp(0.3 * draw.normal(size=num))
    k = (cleared / volume)[:, None]
    bolus = amounts / volume[:, None] * np.exp(-k * times)
    during, after = np.minimum(times, 2.0), np.maximum(times - 2.0, 0.0)
    infused = rates[:, :1] / cleared[:, None] * (1 - np.exp(-k * during)) * np.exp(-k * after)
    exact = bolus + infused
    values = exact * (1 + 0.1 * draw.normal(size=exact.shape)) + 0.05 * draw.normal(size=exact.shape)
    values[:, 0] = np.nan
    return nj.data.Subjects(
        ids=tuple(f"s{i}" for i in range(num)),
        times=times,
        values=values,
        dose_times=np.zeros((num, 1)),
        dose_amounts=amounts,
        covariates=weight[:, None],
        covariate_names=("weight",),
        rate_times=np.broadcast_to([0.0, 2.0], (num, 2)),
        rates=rates,
    )


def _task(subjects=None, make=_model, **options):
    return PopulationTask(_subjects() if subjects is None else subjects, make, _GRID, **options)


_PHASE = Phase(0, jnp.zeros(()))


@pytest.mark.slow
def test_the_gradient_reaches_population_noise_covariates_and_network_and_is_that_of_the_loss(x64):
    def make(key):
        network = nj.fields.ClearanceNetwork(1, 2.0, width=2, key=key, final_scale=1.0)
        return _model(correction=network, is_correlated=True)

    dosed = dataclasses.replace(_subjects(4), rate_times=None, rates=None, dose_amounts=np.full((4, 1), 10.0))
    task = _task(dosed.censor(0.6), make, tolerance=1e-8)
    model = task.init(jax.random.key(0))
    trained, rest = nj.models.partition_trainable(model)
    flat, structure = jax.flatten_util.ravel_pytree(trained)

    @jax.jit
    def run(flat):
        def value(flat):
            return task.loss(eqx.combine(structure(flat), rest), jax.random.key(0), _PHASE)[0]

        return jax.value_and_grad(value)(flat)

    got = run(flat)[1]
    directions = np.random.default_rng(0).normal(size=(3, len(flat)))
    for direction in directions:
        wanted = (run(flat + 1e-5 * direction)[0] - run(flat - 1e-5 * direction)[0]) / 2e-5
        assert float(got @ direction) == pytest.approx(float(wanted), rel=1e-5, abs=1e-7)
    assert np.count_nonzero(np.asarray(got)) == len(flat) - 1  # The effect of weight on the volume is held at zero.


def test_a_subject_whose_solve_fails_is_counted_and_leaves_the_gradient_of_the_others_finite():
    data = _subjects(2)
    later = dataclasses.replace(data, times=data.times * np.array([[1.0], [40.0]]))
    task = _task(later, partial(_model, individual=_Exact()))
    model = task.init(jax.random.key(0))

    @eqx.filter_jit
    @partial(eqx.filter_value_and_grad, has_aux=True)
    def run(model):
        return task.loss(model, jax.random.key(0), _PHASE)

    (value, metrics), gradient = run(model)
    assert float(metrics["failed_share"]) == 0.5
    assert np.isfinite(float(value))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_closed_form_and_the_solve_agree_for_doses_and_infusions_of_each_subject():
    records = nj.tasks.records_of(_subjects())

    def found(individual):
        def of(one):
            return individual.predict(jnp.log(jnp.array([0.5, 2.0])), one.times, one.regimen, _GRID)

        return jax.jit(jax.vmap(of))(records)[:, 1:]

    np.testing.assert_allclose(found(CompartmentIndividual(("clearance", "volume"))), found(_Exact()), rtol=1e-3)


def test_a_fit_finds_the_population_and_its_intervals_hold_what_they_say(tmp_path):
    import optax

    data = _subjects(20, seed=1)
    hidden = data.hold_out(0.2, seed=0)
    held_out, train = data.hide(~hidden), data.hide(hidden)
    task = _task(train, partial(_model, individual=_Exact()), held_out=held_out)
    model = task.init(jax.random.key(0))
    optimizer = optax.adam(0.1)
    trained, rest = nj.models.partition_trainable(model)

    @jax.jit
    def step(trained, state):
        def value(trained):
            return task.loss(eqx.combine(trained, rest), jax.random.key(0), _PHASE)

        (loss, metrics), gradient = jax.value_and_grad(value, has_aux=True)(trained)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(trained, updates), state, loss, metrics

    state = optimizer.init(trained)
    for _ in range(40):
        trained, state, _, metrics = step(trained, state)
    assert float(metrics["failed_share"]) == 0
    assert float(metrics["inner_unconverged"]) < 0.2
    model = eqx.combine(trained, rest)
    named = {name: float(value) for name, value in model.named().items()}
    assert named["clearance"] == pytest.approx(np.log(0.5), abs=0.2)
    assert named["volume"] == pytest.approx(np.log(2.0), abs=0.2)
    assert named["clearance:weight"] == pytest.approx(0.4, abs=0.25)
    assert named["sd clearance"] == pytest.approx(0.3, abs=0.12)
    evaluation = task.evaluate(model, {}, tmp_path, lambda line: None)
    assert 0.8 <= evaluation.metrics["held-out samples coverage_90"] <= 1.0
    assert evaluation.metrics["held-out samples samples"] == 20
    assert {(tmp_path / name).is_file() for name in evaluation.figures} == {True}
    inspection = task.inspect(model, jax.random.key(0), _PHASE)
    assert inspection.states.shape == (20, 6, 1)
    assert inspection.figures["converged"].mean() > 0.8


def test_the_log_density_of_a_prediction_without_doubt_is_that_of_the_noise():
    subjects = _subjects(2)
    shape = (2, 50, 6)
    predictions, scales = np.ones(shape), np.full(shape, 0.5)
    draws = predictions + 0.5 * np.random.default_rng(0).normal(size=shape)
    found = nj.tasks.Predictive(subjects.times, predictions[:, 0], predictions, scales, draws)
    each = each_sample(found, subjects)
    value = subjects.values[subjects.mask]
    np.testing.assert_allclose(each["log_density"], -2 * (value - 1) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi)), rtol=1e-9)
    censored = subjects.censor(1.0)
    ranks = each_sample(found, censored)["rank"]
    assert np.isnan(ranks).sum() == np.sum(value < 1.0)
    assert score(found, censored)["samples"] == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _model(random=("absorption",)), "random effects on some of"),
        (lambda: _model(covariate_effects=(("clearance", "age"),)), "pairs of a parameter"),
        (lambda: CompartmentIndividual(("clearance",)), "either .volume. or .elimination."),
        (lambda: CompartmentIndividual(("clearance", "volume", "flow_1")), "flow_1 and volume_1"),
        (lambda: _task(batch_size=7), "between 1 and the number of subjects, 6"),
        (lambda: _task(held_out=_subjects(5)), "the same subjects at the same times"),
        (lambda: PopulationModel(CompartmentIndividual(("clearance", "volume")), None, {}, ("volume",)), "a start for"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message):
    with pytest.raises(nj.UsageError, match=message):
        make()


def test_elimination_stands_for_the_volume():
    individual = CompartmentIndividual(("elimination", "absorption", "clearance"))
    field = individual.field(jnp.log(jnp.array([0.1, 1.5, 0.04])))
    assert float(jnp.exp(field.log_volume)) == pytest.approx(0.4)
    assert field.has_depot


def test_subjects_are_checked_hidden_and_taken():
    subjects = _subjects(3)
    with pytest.raises(nj.UsageError, match="strictly increasing times of subject s0"):
        dataclasses.replace(subjects, times=subjects.times[:, ::-1])
    with pytest.raises(nj.UsageError, match="at least one measurement of subject s0"):
        dataclasses.replace(subjects, values=np.full((3, 6), np.nan))
    with pytest.raises(nj.UsageError, match="covariates of shape"):
        dataclasses.replace(subjects, covariates=np.zeros((2, 1)))
    with pytest.raises(nj.UsageError, match="both rate_times and rates"):
        dataclasses.replace(subjects, rates=None)
    with pytest.raises(nj.UsageError, match=r"a share in \(0, 1\)"):
        subjects.hold_out(1.0, seed=0)
    hidden = subjects.hold_out(0.2, seed=3)
    assert hidden.sum(axis=1).tolist() == [1, 1, 1]
    assert (hidden & ~subjects.mask).sum() == 0
    assert subjects.hide(hidden).mask.sum() == 12
    assert subjects.take([2, 0]).ids == ("s2", "s0")
    assert subjects.take(np.array([True, False, True])).ids == ("s0", "s2")
