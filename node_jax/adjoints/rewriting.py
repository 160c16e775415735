"""Equations of a program written anew, those within the functions and loops that it calls too.

What takes the place of an equation may want an operand prepared. That is done as early as can be: what enters a loop
and stays the same in every pass is prepared before the loop, once.
"""

import functools
import operator
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jax.extend.core.primitives import cond_p, jit_p, remat_p, scan_p, transpose_p, while_p
from jaxtyping import Array

_TRANSPARENT = (jit_p, scan_p, while_p, cond_p, remat_p)
"""What runs other programs as they are. A kernel that is written by hand, say, is left alone."""
_OF_EACH_INPUT = ("in_shardings", "in_layouts", "donated_invars")
"""Parameters of a call of a compiled function that have an entry for each of its inputs."""


class Call(NamedTuple):
    """A call of a function under `jax.jit`, by the operands in their order and by `settings`, which are static."""

    function: Callable[..., Array]
    settings: Hashable


@dataclass(frozen=True)
class Instead:
    """What takes the place of an equation: a call, and what becomes of its operands before."""

    call: Call
    operands: tuple[Any, ...]
    """Of the equation, or others of the same program."""
    prepared: tuple[tuple[int, Call], ...] = ()
    """Places of operands that are prepared, and how."""


Wanted = tuple[tuple[int, Call], ...]
"""Inputs of a program that are wanted prepared, by their places, and how."""


class Block:
    """One program while it is written anew: its equations so far, and what was prepared for them.

    Arguments:
        program: the program.
        num_free: how many of its first inputs can be prepared outside.
    """

    def __init__(self, program: Jaxpr, num_free: int) -> None:
        self.equations: list[JaxprEqn] = []
        self.wanted: list[tuple[int, Call]] = []
        self.new_inputs: list[Var] = []
        self.turned = _turned_results(program)
        self._sources = _sources_of_transposes(program)
        self._places = {atom: place for place, atom in enumerate(program.invars[:num_free])}
        self._prepared: dict[tuple[Any, Call], Var] = {}

    def source_of(self, atom: Any) -> Any | None:
        """The matrix of which `atom` is the transpose, if it is one."""
        return self._sources.get(atom) if isinstance(atom, Var) else None

    def prepare(self, atom: Any, call: Call) -> Var:
        """The result of `call` for an operand, from outside where that is possible. All that is prepared of a matrix is
        its transpose, so that of a transpose it is there.
        """
        source = self.source_of(atom)
        if source is not None:
            return source
        # A constant is written into its equation, and has no hash.
        key = atom if isinstance(atom, Var) else id(atom), call
        if key not in self._prepared:
            equation = _equation_of(call, (atom.aval,))
            self._prepared[key] = equation.outvars[0]
            if key[0] in self._places:
                self.wanted.append((self._places[key[0]], call))
                self.new_inputs.append(equation.outvars[0])
            else:
                self.equations.append(equation.replace(invars=[atom]))
        return self._prepared[key]


class Rewriter:
    """Writes equations of a program anew.

    Arguments:
        instead_of: what takes the place of an equation in a block; `None` leaves it as it is.
    """

    def __init__(self, instead_of: Callable[[JaxprEqn, Block], Instead | None]) -> None:
        self.instead_of = instead_of
        # By identity, since a function that is called twice stays one; the outermost program keeps all of them alive.
        self.done: dict[tuple[int, int], tuple[Any, Wanted]] = {}
        # What an equation becomes, by call and operands.
        self.calls: dict[Any, JaxprEqn] = {}

    def rewrite(self, program: Any, num_free: int = 0) -> tuple[Any, Wanted]:
        """A program with its equations written anew.

        Arguments:
            program: with its constants or without.
            num_free: how many of its first inputs can be prepared by what calls it.

        Returns:
            The program, with further inputs behind those, and of which inputs and by which calls they are made.
        """
        key = id(program), num_free
        if key not in self.done:
            # Up to jax 0.10 a program with its constants is another type.
            within = getattr(program, "jaxpr", program)
            if within is program:
                self.done[key] = self._with_equations_rewritten(program, num_free)
            else:
                rewritten, wanted = self.rewrite(within, num_free)
                self.done[key] = program if rewritten is within else program.replace(jaxpr=rewritten), wanted
        return self.done[key]

    def _with_equations_rewritten(self, program: Jaxpr, num_free: int) -> tuple[Jaxpr, Wanted]:
        # An effect may be known by the place of an input.
        block = Block(program, 0 if program.effects else num_free)
        for equation in program.eqns:
            block.equations.append(self._rewrite_equation(equation, block))
        # What nothing was done to stays the same object, as which jax has it in its caches.
        if len(block.equations) == len(program.eqns) and all(map(operator.is_, block.equations, program.eqns)):
            return program, ()
        inputs = _inserted(program.invars, num_free, block.new_inputs)
        return program.replace(invars=inputs, eqns=block.equations), tuple(block.wanted)

    def _rewrite_equation(self, equation: JaxprEqn, block: Block) -> JaxprEqn:
        if equation.primitive not in _TRANSPARENT:
            found = self.instead_of(equation, block)
            return equation if found is None else self._called(found, equation, block)
        constants, params, wanted = _constants_of(equation), dict(equation.params), ()
        for name, value in equation.params.items():
            if name in ("jaxpr", "body_jaxpr"):
                params[name], wanted = self.rewrite(value, len(constants))
            elif _is_program(value):
                params[name], _ = self.rewrite(value)
            elif isinstance(value, tuple) and any(map(_is_program, value)):
                parts = tuple(self.rewrite(part)[0] for part in value)
                params[name] = value if all(map(operator.is_, parts, value)) else parts
        if all(params[name] is value for name, value in equation.params.items()):
            return equation
        prepared = [block.prepare(equation.invars[constants[place]], call) for place, call in wanted]
        return equation.replace(
            invars=_inserted(equation.invars, constants.stop, prepared),
            params=_with_more_constants(params, len(prepared)),
        )

    def _called(self, found: Instead, equation: JaxprEqn, block: Block) -> JaxprEqn:
        """The equation that calls what was found, with operands prepared."""
        operands = list(found.operands)
        for place, call in found.prepared:
            operands[place] = block.prepare(operands[place], call)
        key = found.call, tuple(operand.aval for operand in operands)
        if key not in self.calls:
            self.calls[key] = _equation_of(*key)
        return self.calls[key].replace(invars=operands, outvars=equation.outvars)


def _equation_of(call: Call, operands: tuple[Any, ...]) -> JaxprEqn:
    """The call of a function for operands of these types, with a result of its own."""
    program = jax.make_jaxpr(functools.partial(call.function, settings=call.settings))(*operands)
    (equation,) = program.eqns
    return equation


@functools.cache
def _usual_params() -> dict[str, Any]:
    """What a call of a compiled function says of an input, unless it was told otherwise."""
    (equation,) = jax.make_jaxpr(jax.jit(operator.neg))(0.0).eqns
    return {name: equation.params[name][0] for name in _OF_EACH_INPUT}


def _constants_of(equation: JaxprEqn) -> range:
    """Which operands are, in each pass or in the one call, the first inputs of the program inside; none of them if
    something is said of an input that is not said of all.
    """
    params = equation.params
    if equation.primitive is while_p:
        return range(params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"])
    if equation.primitive is scan_p:
        # From jax 0.11 on the constants of a scan are counted in a way that is jax's own.
        return range(params.get("num_consts", 0))
    is_usual = all(set(params[name]) <= {usual} for name, usual in _usual_params().items() if name in params)
    if equation.primitive not in (jit_p, remat_p) or not is_usual or isinstance(params.get("prevent_cse"), tuple):
        return range(0)
    return range(len(equation.invars))


def _with_more_constants(params: dict[str, Any], number: int) -> dict[str, Any]:
    """Parameters of an equation that has got so many further operands behind those of `_constants_of`."""
    counts = {name: params[name] + number for name in ("num_consts", "body_nconsts") if name in params}
    usual = {name: params[name] + (entry,) * number for name, entry in _usual_params().items() if name in params}
    return params | counts | usual


def _inserted(atoms: list[Any], place: int, new: list[Any]) -> list[Any]:
    return [*atoms[:place], *new, *atoms[place:]]


def _is_program(x: Any) -> bool:
    return isinstance(x, ClosedJaxpr | Jaxpr)


def _is_transposition(equation: JaxprEqn) -> bool:
    return equation.primitive is transpose_p and equation.params["permutation"] == (1, 0)


def _sources_of_transposes(program: Jaxpr) -> dict[Any, Any]:
    """Of which matrix a result is the transpose, within the program or, as a call of a function returns it, before."""
    sources: dict[Any, Any] = {}
    for equation in program.eqns:
        if _is_transposition(equation):
            sources[equation.outvars[0]] = equation.invars[0]
        elif equation.primitive is jit_p:
            # Up to jax 0.10 a program with its constants is another type.
            called = getattr(equation.params["jaxpr"], "jaxpr", equation.params["jaxpr"])
            operands = dict(zip(called.invars, equation.invars, strict=True))
            within = {inner.outvars[0]: inner.invars[0] for inner in called.eqns if _is_transposition(inner)}
            for result, inner in zip(equation.outvars, called.outvars, strict=True):
                source = within.get(inner) if isinstance(inner, Var) else None
                if isinstance(source, Var) and source in operands:
                    sources[result] = operands[source]
    return sources


def _turned_results(program: Jaxpr) -> set[Any]:
    """The results that are transposed before they are used, once or another odd number of times."""
    readers: dict[Any, list[JaxprEqn | None]] = {}
    for equation in program.eqns:
        for atom in equation.invars:
            if isinstance(atom, Var):
                readers.setdefault(atom, []).append(equation)
    for atom in program.outvars:
        if isinstance(atom, Var):
            readers.setdefault(atom, []).append(None)
    turned: set[Any] = set()
    for equation in filter(_is_transposition, reversed(program.eqns)):
        (source,) = equation.invars
        if isinstance(source, Var) and equation.outvars[0] not in turned and len(readers[source]) == 1:
            turned.add(source)
    return turned
