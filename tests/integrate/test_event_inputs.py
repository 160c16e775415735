"""What cannot be an event is refused with a sentence that names the cure."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj


def decay(t, y, args):
    return -y


def raise_by_one(t, y, args):
    return y + 1.0


def falls(t, y, args):
    return y[0] - 0.5


JUMP = nj.Jump([0.5], raise_by_one)
REFUSED = {
    "a function": ({"events": falls}, "events to hold nj.Event(...) and nj.Jump(...), got function"),
    "a class": ({"events": nj.Event}, "events to hold nj.Event(...) and nj.Jump(...), got the class Event"),
    "one of several": ({"events": [JUMP, 1.0]}, "events to hold nj.Event(...) and nj.Jump(...), got float"),
    "no function": ({"events": nj.Event(1.0)}, "condition to be callable as condition(t, y, args), got float"),
    "a direction": ({"events": nj.Event(falls, direction=2)}, "direction to be 1 (rising), -1 (falling) or 0, got 2"),
    "a direction that is no integer": ({"events": nj.Event(falls, direction=1.0)}, "direction to be 1 (rising)"),
    "a flag": ({"events": nj.Event(falls, terminate=None)}, "terminate to be True or False, got None"),
    "a count": ({"events": nj.Event(falls, max_events=0)}, "max_events to be an integer of at least 1, got 0"),
    "a count that is a flag": ({"events": nj.Event(falls, max_events=True)}, "max_events to be an integer"),
    "two arguments": (
        {"events": nj.Event(lambda t, y: y[0])},
        "condition to be callable as condition(t, y, args), got one with arguments (t, y)",
    ),
    "an event's jump": ({"events": nj.Event(falls, jump=2.0)}, "jump to be callable as jump(t, y, args), got float"),
    "a jump": ({"events": nj.Jump([0.5], None)}, "jump to be callable as jump(t, y, args), got NoneType"),
    "times as a number": ({"events": nj.Jump(0.5, raise_by_one)}, "times of shape (jump,)"),
    "times with three axes": ({"events": nj.Jump(np.ones((1, 1, 1)), raise_by_one)}, "times of shape (jump,)"),
    "ragged times": ({"events": nj.Jump([[0.5], [0.1, 0.2]], raise_by_one)}, "numbers, with rows of one length"),
    "times that are words": ({"events": nj.Jump(["noon"], raise_by_one)}, "numbers, with rows of one length"),
    "NaN": ({"events": nj.Jump([0.5, np.nan], raise_by_one)}, "without NaN. Pad with infinity"),
    "a comparison": ({"events": nj.Event(lambda t, y, args: y[0] < 0.5)}, "a floating-point scalar that changes sign"),
    "a vector": ({"events": nj.Event(lambda t, y, args: y)}, "float32 of shape (2,). Return a difference"),
    "a pair": ({"events": nj.Event(lambda t, y, args: (y[0], y[1]))}, "a floating-point scalar that changes sign"),
    "another shape": (
        {"events": nj.Jump([0.5], lambda t, y, args: y[0])},
        "a jump to return a state like the one before",
    ),
    "another tree": ({"events": nj.Event(falls, jump=lambda t, y, args: (y, y))}, "a jump to return a state like the"),
    "a solver of diffrax": ({"events": JUMP, "solver": diffrax.Tsit5()}, "events= is not available with a diffrax"),
    "two copies": (
        {"events": JUMP, "solver": nj.ReversibleHeun(), "controller": nj.ConstantStep(0.1)},
        "keeps more than",
    ),
    "a leapfrog": (
        {"events": JUMP, "solver": nj.StormerVerlet(), "controller": nj.ConstantStep(0.1)},
        "keeps more than",
    ),
    "backsolve": ({"events": JUMP, "adjoint": nj.BacksolveAdjoint()}, "BacksolveAdjoint cannot differentiate a jump"),
    "gauss": ({"events": JUMP, "adjoint": nj.GaussAdjoint()}, "GaussAdjoint cannot differentiate a jump"),
    "reversible": (
        {"events": JUMP, "adjoint": nj.ReversibleAdjoint()},
        "ReversibleAdjoint cannot differentiate a jump",
    ),
    "too many steps": (
        {"events": JUMP, "controller": nj.FixedSteps(4), "max_steps": 5},
        "takes 6 steps for 2 times and 2 more at knots of zero-order holds, jumps and events",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_an_event_is_refused(name):
    keywords, message = REFUSED[name]
    y0 = (jnp.ones(2), jnp.ones(2)) if name == "a leapfrog" else jnp.ones(2)
    with pytest.raises((TypeError, ValueError)) as caught:
        nj.odeint((lambda t, y, args: y) if name == "a leapfrog" else decay, y0, [0.0, 1.0], **keywords)
    assert str(caught.value).startswith("odeint: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (nj.Jump(np.ones((3, 2)), raise_by_one), "of shape (jump,) or (4, jump), a row a trajectory, got (3, 2)"),
        (falls, "odeint_batch: expected events to hold"),
        (nj.Event(lambda t, y, args: y), "odeint_batch: expected an Event's condition to return"),
        (nj.Event(falls, jump=lambda t, y, args: y[0]), "odeint_batch: expected a jump to return"),
    ],
)
def test_what_cannot_be_an_event_of_a_batch_is_refused(events, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        nj.odeint_batch(decay, jnp.ones((4, 2)), [0.0, 1.0], events=events)
    assert message in str(caught.value)


def test_one_solve_takes_no_rows_of_times():
    with pytest.raises(ValueError, match=r"of shape \(jump,\), got \(3, 2\)"):
        nj.odeint(decay, jnp.ones(2), [0.0, 1.0], events=nj.Jump(np.ones((3, 2)), raise_by_one))


def test_an_integrator_takes_events():
    integrator = nj.Integrator(nj.Euler(), nj.FixedSteps(1))
    jump = nj.Jump([0.5], raise_by_one)
    one = integrator(lambda t, y, args: 0 * y, jnp.ones(1), [0.0, 1.0], events=jump)
    many = integrator.batch(lambda t, y, args: 0 * y, jnp.ones((2, 1)), [0.0, 1.0], events=jump)
    np.testing.assert_array_equal(one.ys[-1], [2.0])
    np.testing.assert_array_equal(many.ys[:, -1], [[2.0], [2.0]])
