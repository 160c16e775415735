"""The benchmark harness: it must measure what it says, and run with whatever this version of the library has."""

import functools
import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import node_jax as nj
from experiments.benchmarks import batch_sides, batches, equal_error, ours, rivals
from experiments.benchmarks.bare import bare_solve
from experiments.benchmarks.contender import Setting, gradient_of, relative_error
from experiments.benchmarks.harness import (
    compare,
    compare_compile,
    compile_figures,
    equations_of,
    field_time,
    gradient_floor,
    vjp_time,
)
from experiments.benchmarks.networks import start_states
from experiments.benchmarks.problems import DETEST, OTHERS, STIFF
from experiments.benchmarks.report import Results, Table, record, write
from experiments.benchmarks.sides import COLUMNS, Case, measure, rows_of
from experiments.benchmarks.small_system import Oscillator
from experiments.benchmarks.work_precision import Point, merit


def test_compare_pairs_ratios_by_round():
    calls = []
    timings = compare({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4, inner=2)
    assert timings["a"].ratio == 1
    assert timings["b"].ratio > 0
    assert calls.count("a") == calls.count("b") == 8


def test_equations_of_shared_inner_jaxprs_are_counted_once():
    inner = jax.jit(lambda x: jnp.sin(x) * 2)
    once = len(list(equations_of(jax.make_jaxpr(lambda x: inner(x))(1.0).jaxpr)))
    twice = len(list(equations_of(jax.make_jaxpr(lambda x: inner(inner(x)))(1.0).jaxpr)))
    assert (once, twice) == (3, 4)


def test_compile_figures_see_callbacks_and_temporaries():
    def plain(x):
        return jnp.sum(jnp.sin(x @ x))

    def talkative(x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), jnp.float32), plain(x))

    figures, compiled = compile_figures(plain, jnp.eye(64))
    assert not figures.has_callback
    assert figures.num_equations >= 3
    assert figures.total > 0
    assert figures.temporary_bytes >= 64 * 64 * 4
    assert compiled(jnp.eye(64)).shape == ()
    assert compile_figures(talkative, jnp.eye(4))[0].has_callback


def test_programs_are_compiled_in_turn_and_a_larger_one_takes_longer():
    def chain(x, length):
        for _ in range(length):
            x = jnp.sin(x @ x)
        return x

    programs = {
        name: (functools.partial(chain, length=length), (jnp.eye(4),)) for name, length in (("a", 1), ("b", 99))
    }
    timings = compare_compile(programs, rounds=2)
    assert timings["a"].ratio_text() == "1.00 (1.00 to 1.00)"
    assert timings["b"].ratio > 1


def test_a_time_at_equal_error_owes_nothing_to_a_lucky_tolerance():
    lucky = [(1e-2, 1e-1, 1.0), (1e-3, 1e-4, 2.0), (1e-4, 1e-2, 3.0), (1e-5, 1e-4, 4.0)]
    points = [equal_error.Point(*point) for point in lucky]
    assert equal_error._time_at(points, 1e-3) == pytest.approx(1e3 * 12**0.5)
    assert equal_error._time_at(points, 1e-2) == pytest.approx(2e3)
    assert equal_error._time_at(points, 1e-5) is None
    assert equal_error._time_at(points, 1.0) is None


def test_floor_grows_with_the_field():
    field = Oscillator(jnp.array(1.0))
    y = jnp.array([2.0, 0.0])
    assert 0 < field_time(field, y, 50) < 1e-3
    assert 0 < vjp_time(field, y, 50) < 1e-3
    assert gradient_floor(100, 10, 6, 1.0, 2.0) == 220


@pytest.mark.parametrize("solver", [name for name in rivals.EVALS_PER_STEP if ours.has_solver(name)])
def test_counts_of_evaluations_are_those_made(solver):
    """node_jax's own count, and the rule by which diffrax's is reckoned, against a counter inside the field."""
    calls = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.cos(t) - y

    setting = Setting(1e-3, 1e-5, 0.1, 64, solver)
    for solve in (ours.solve, rivals.diffrax_solve):
        calls.clear()
        solved = jax.block_until_ready(solve(field, jnp.ones(1), jnp.array([0.0, 3.0]), setting, True))
        jax.effects_barrier()
        # diffrax evaluates the field once more for the first stage, which its own design repeats.
        assert len(calls) - int(solved.num_evals) in (0, 1)


def test_every_problem_is_the_same_for_jax_and_scipy(x64):
    for problem in DETEST + OTHERS + STIFF:
        y = np.asarray(problem.y0) + 0.01
        ours_there = problem.field(0.5, jnp.asarray(y), None)
        np.testing.assert_allclose(ours_there, problem.scipy_field(0.5, y), rtol=1e-12, atol=1e-14)
    assert len(DETEST) == 25


def test_references_agree_with_closed_forms():
    by_name = {problem.name: problem for problem in DETEST}
    ts = by_name["A1"].ts
    np.testing.assert_allclose(by_name["A1"].reference()[:, 0], np.exp(-ts), atol=1e-13)
    np.testing.assert_allclose(by_name["A2"].reference()[:, 0], 1 / np.sqrt(ts + 1), rtol=1e-12)
    np.testing.assert_allclose(by_name["A3"].reference()[:, 0], np.exp(np.sin(ts)), rtol=3e-12)


def test_sides_measure_one_case_and_agree():
    case = Case(Oscillator(jnp.array(1.0)), jnp.array([2.0, 0.0]), jnp.linspace(0.0, 2.0, 5), Setting())
    measured = measure(case, {"node_jax": ours.solve, "diffrax": rivals.diffrax_solve}, rounds=2, turn=1e-3)
    assert all(side.error < 1e-2 for side in measured.values())
    rows = rows_of(measured, floor=1e-6)
    assert all(len(row) == len(COLUMNS) for row in rows)


def test_the_bare_loop_is_a_solve_with_equal_steps_and_its_gradient():
    field = nj.fields.MLP(2, 8, 1, key=jax.random.key(0))
    y0, ts = start_states(4), jnp.linspace(0.0, 2.0, 5)
    bare = functools.partial(bare_solve, num_steps=16)
    setting = Setting(constant_dt=2.0 / 16, max_steps=17)
    ours_solved = ours.solve(field, y0, ts, setting, final_only=True)
    assert jax.tree.map(int, bare(field, y0, ts, setting)[1:]) == jax.tree.map(int, ours_solved[1:])
    found, expected = (gradient_of(solve, field, y0, ts, setting, final_only=True) for solve in (bare, ours.solve))
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("name", list(ours.reverse_adjoints()))
def test_every_adjoint_of_this_version_is_taken_up(name):
    field, ts = Oscillator(jnp.array(1.0)), jnp.linspace(0.0, 1.0, 3)
    y0 = jnp.array([2.0, 0.0])
    setting = Setting(1e-5, 1e-7)

    def solve(*args):
        return ours.solve(*args, adjoint=ours.reverse_adjoints()[name])

    exact = gradient_of(rivals.jax_solve, field, y0, ts, setting)
    assert relative_error(gradient_of(solve, field, y0, ts, setting), exact) < 1e-2


def test_sides_of_a_batch_agree_in_the_order_given():
    y0s, dampings = 1.0 + jax.random.normal(jax.random.key(0), (64, 2)), jnp.linspace(0.1, 3.0, 64)
    ts, args = jnp.array([0.0, 1.0]), (None, dampings)
    problem = batch_sides.Problem(
        batch_sides.oscillator, y0s, ts, args, (None, 0), Setting(), final_only=True, hint=dampings
    )
    solves = (
        batch_sides.solve_longest_first,
        functools.partial(batch_sides.solve_mapped, rivals.diffrax_solve),
    )
    measured = batch_sides.measure_batch({str(i): (problem, solve) for i, solve in enumerate(solves)}, 1, 1)
    exact = problem.exact()
    assert all(relative_error(side.result, exact) < 1e-2 for side in measured.values())
    assert all(0 < side.efficiency <= 1 for side in measured.values())


def test_what_pads_a_series_is_no_output():
    ts = jnp.array([[0.0, 0.5, 1.0, 1.5], [0.0, 0.5, 0.5, 0.5]])
    network = nj.fields.MLP(dim=2, width=4, depth=1, key=jax.random.key(1))
    problem = batch_sides.Problem(batch_sides.neural, jnp.ones((2, 2)), ts, (network,), (None,), batches.NEURAL)
    measured = batch_sides.measure_batch({"node_jax": (problem, batch_sides.solve_lanes)}, 1, 1)["node_jax"]
    assert relative_error(measured.result, problem.exact()) < 1e-3
    no_padding = [problem.loss(jnp.full((2, 4, 2), 2.0).at[1, 2:].set(value)) for value in (2.0, 100.0)]
    np.testing.assert_allclose(no_padding, 4.0)


def test_merit_is_the_shift_between_curves():
    mine = [Point(0.0, evals, 1e-3 / evals, 1.0, 0) for evals in (10, 100, 1000)]
    theirs = [Point(0.0, evals, 1e-2 / evals, 1.0, 0) for evals in (20, 200)]
    assert merit(mine, theirs) == pytest.approx(-1.0)
    assert merit(mine, []) is None


def test_a_record_replaces_its_own_tables_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin small -->\nold\n<!-- end small -->\nafter\n")
    results = Results("small", "How small?", [Table("Sizes", ("side", "size"), [("a", 1.23456), ("b", None)])], ["so"])
    path = write(results, tmp_path / "runs")
    record(path, page, tmp_path / "records")
    text = page.read_text()
    assert "| a | 1.23 |\n| b |  |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert json.loads((tmp_path / "records" / "small.json").read_text()) == json.loads(json.dumps(asdict(results)))
    with pytest.raises(ValueError, match="no place for 'other'"):
        record(write(Results("other", "?", []), tmp_path / "runs"), page, tmp_path / "records")


def test_starts_are_reproducible():
    assert start_states(4).shape == (4, 2)
    np.testing.assert_array_equal(start_states(4), start_states(4))
