"""What README and docs show runs as written, and every public name says what it is."""

import contextlib
import functools
import inspect
import io
import re
from pathlib import Path

import pytest

import node_jax as nj

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs" / "results").rglob("*.md"))]


def _blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), flags=re.M | re.S)


@functools.cache
def _run(path):
    """What the blocks of a page define, and what they print."""
    namespace, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in _blocks(path, "python"):
            exec(compile(block, str(path), "exec"), namespace)
    return namespace, printed.getvalue()


@pytest.mark.parametrize("path", [p for p in PAGES if _blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run_as_written(path):
    assert _run(path)[1]


def test_the_readme_example_learns():
    namespace, _ = _run(ROOT / "README.md")
    assert float(namespace["value"]) < 0.01 * float(namespace["data"].var())


def test_the_first_two_bash_blocks_are_whole_commands():
    first, second = _blocks(ROOT / "README.md", "bash")[:2]
    assert first.strip().endswith("node-jax train configs/hare_lynx.py")
    assert "pytest" in second
    for block in (first, second):
        assert block.count("\n") == 1
        assert "pip install -e" in block


@pytest.mark.parametrize("path", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def _public_objects():
    for name in nj.__all__:
        thing = getattr(nj, name)
        yield f"nj.{name}", thing
        if inspect.ismodule(thing):
            for inner in thing.__all__:
                yield f"nj.{name}.{inner}", getattr(thing, inner)


@pytest.mark.parametrize(("name", "thing"), list(_public_objects()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_public_name_has_a_docstring_of_its_own(name, thing):
    assert thing.__doc__
    assert thing.__doc__.strip()
    if inspect.isclass(thing):
        assert "__doc__" in vars(thing)
        # What a dataclass writes by itself is a signature.
        assert not thing.__doc__.startswith(f"{thing.__name__}(")
        for method, value in vars(thing).items():
            if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{method}"


@pytest.mark.parametrize(
    ("name", "thing"),
    [(n, t) for n, t in _public_objects() if t.__doc__ and ">>>" in t.__doc__],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_docstring_examples_run(name, thing):
    import doctest

    finder = doctest.DocTestFinder(recurse=False)
    for test in finder.find(thing, name, globs={}):
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0


def test_names_load_lazily_and_misspelt_ones_are_refused():
    assert set(nj.__all__) <= set(dir(nj))
    with pytest.raises(AttributeError, match="Tsit6"):
        _ = nj.Tsit6


def test_choices_in_configs_are_those_that_can_be_built():
    import typing

    from node_jax.config import fields, solver
    from node_jax.config.builders import fields as build_field
    from node_jax.integrate.diffrax_backend import DIFFRAX_SOLVERS

    choices = typing.get_args(typing.get_type_hints(fields.MLPField)["activation"])
    assert set(choices) == set(build_field.ACTIVATIONS)
    methods = typing.get_args(typing.get_type_hints(solver.DiffraxSolver)["method"])
    assert set(methods) == set(DIFFRAX_SOLVERS)
