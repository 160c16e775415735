"""Controllers follow their formulas and never divide by zero."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def _decide(controller, size, previous=1.0, was_accepted=True, order=5):
    """One decision on an error whose scaled norm is `size` at atol = 1."""
    y = jnp.zeros(1)
    memory = (jnp.asarray(0.0 if was_accepted else 1.0), jnp.asarray(np.log(previous) / order))
    memory = memory if controller.dcoeff is None else (*memory, jnp.zeros(()))
    ts = jnp.array([0.0, 2.0])
    return controller.decide(memory, ts, jnp.asarray(1.0), jnp.asarray(0.5), y, y, jnp.array([size]), order)


def test_the_next_step_is_the_formulas():
    controller = nj.PIController(rtol=1.0, atol=1.0)
    decision = _decide(controller, 0.5, previous=0.2)
    assert bool(decision.accept)
    expected = 0.5 * 0.9 * 0.5 ** (-0.7 / 5) * 0.2 ** (0.4 / 5)
    np.testing.assert_allclose(decision.dt, expected, rtol=1e-5)
    rejected = _decide(controller, 3.0)
    assert not bool(rejected.accept)
    np.testing.assert_allclose(rejected.dt, 0.5 * 0.9 * 3.0 ** (-1 / 5), rtol=1e-5)


def test_changes_of_the_step_are_bounded():
    controller = nj.PIController(rtol=1.0, atol=1.0, factor_min=0.3, factor_max=4.0)
    np.testing.assert_allclose(_decide(controller, 0.0).dt, 0.5 * 4.0, rtol=1e-6)
    np.testing.assert_allclose(_decide(controller, 1e9).dt, 0.5 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(_decide(controller, jnp.nan).dt, 0.5 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(_decide(controller, 0.0, was_accepted=False).dt, 0.5, rtol=1e-6)


def test_no_step_is_longer_than_dtmax():
    controller = nj.PIController(dtmax=0.05)
    sol = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=controller)
    assert int(sol.stats.num_accepted) >= 20


def test_dt0_is_taken_and_saves_the_search():
    searched = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0])
    given = nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(dt0=0.05))
    attempts = [int(s.stats.num_accepted + s.stats.num_rejected) for s in (searched, given)]
    assert int(searched.stats.num_evals) == 2 + 6 * attempts[0]
    assert int(given.stats.num_evals) == 1 + 6 * attempts[1]


def test_a_custom_norm_is_used():
    def maximum(x):
        return jnp.max(jnp.abs(x))

    def field(t, y, args):
        return jnp.array([-50.0, *[0.0] * 99]) * y

    strict = nj.odeint(field, jnp.ones(100), [0.0, 1.0], controller=nj.PIController(norm=maximum))
    loose = nj.odeint(field, jnp.ones(100), [0.0, 1.0])
    assert int(strict.stats.num_accepted) > int(loose.stats.num_accepted)


def test_a_norm_that_leaves_out_a_part_does_not_hide_that_it_overflows():
    controller = nj.PIController(norm=lambda x: jnp.max(jnp.abs(x[0])))
    sol = nj.odeint(lambda t, y, args: jnp.stack([-y[0], y[1] ** 2]), jnp.ones(2), [0.0, 2.0], controller=controller)
    assert nj.Status(int(sol.status)) in (nj.Status.non_finite, nj.Status.dt_underflow)


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_an_attempt_that_ends_beyond_all_numbers_is_rejected_with_a_ratio_that_tells(bad):
    controller = nj.PIController()
    y0, y1, zero = jnp.ones(3), jnp.array([1.0, bad, 1.0]), jnp.zeros(3)
    one = jnp.ones(())
    decision = controller.decide((0 * one, 0 * one), jnp.arange(2.0), one, one, y0, y1, zero, 5)
    assert not bool(decision.accept)
    assert not bool(jnp.isfinite(decision.error_ratio))
    assert float(decision.dt) == pytest.approx(controller.factor_min)


def test_bounds_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="dtmin <= dtmax"):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(dtmin=0.5, dtmax=0.1))
    controller = nj.PIController(dtmin=np.float32(0.5), dtmax=jnp.float32(0.1))
    with pytest.raises(ValueError, match="dtmin <= dtmax"):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=controller)


@pytest.mark.parametrize("jump_ts", ["0.5", [None, 0.5]])
def test_jump_times_that_are_no_numbers_are_refused(jump_ts):
    with pytest.raises(ValueError, match="expected jump_ts to hold numbers"):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(jump_ts=jump_ts))


def test_a_tolerance_below_the_precision_of_the_state_leaves_a_solve_that_starts_at_zero():
    controller = nj.PIController(rtol=1e-3, atol=1e-8)
    sol = nj.check(nj.odeint(lambda t, y, args: 1 - y, jnp.zeros(2, jnp.float16), [0.0, 1.0], controller=controller))
    np.testing.assert_allclose(np.asarray(sol.ys[-1], float), 1 - np.exp(-1.0), atol=2e-3)


def test_a_module_may_hold_the_tolerances_of_a_state_that_is_one():
    class Parts(eqx.Module):
        position: object
        speed: object

    def field(t, y, args):
        return Parts(y.speed, -y.position)

    y0 = Parts(jnp.ones(2), jnp.zeros(2))
    found, expected = (
        nj.check(nj.odeint(field, y0, [0.0, 1.0], controller=nj.PIController(rtol=rtol))).ys
        for rtol in (Parts(1e-4, 1e-4), 1e-4)
    )
    np.testing.assert_array_equal(found.position, expected.position)
    with pytest.raises(ValueError, match=r"expected rtol to be finite and greater than 0, got -0\.1"):
        nj.odeint(field, y0, [0.0, 1.0], controller=nj.PIController(rtol=Parts(1e-4, -0.1)))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1e-3"])
def test_tolerances_that_cannot_work_are_refused(value):
    with pytest.raises(ValueError, match="rtol"):
        nj.odeint(lambda t, y, args: -y, jnp.ones(1), [0.0, 1.0], controller=nj.PIController(rtol=value))
