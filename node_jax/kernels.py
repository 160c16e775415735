"""Arithmetic on a few numbers as one kernel of the compiled program.

XLA compiles each fused computation of a CPU program by itself, which takes it several milliseconds however little there
is to compute, and starts it by itself in every pass of a loop. The bookkeeping of a step is a dozen of them. A call
that is marked is compiled into one function instead, the way XLA itself treats loops that carry little
(`SmallWhileLoopHoistingPass` and `ComputationKernelEmitter` of XLA's CPU compiler).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import func, stablehlo
from jax.interpreters import ad, batching, mlir

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")
Tree = TypeVar("Tree")

_PREFIX = "one_kernel_"
"""Of the names by which calls are known when they are lowered."""
_MARKS = {"inlineable": "false", "xla_cpu_small_call": "true"}
_TINY_BYTES = 64
"""XLA compiles a loop over steps whole, as one function, if its state is smaller; a call within would prevent that."""
_LARGE_BYTES = 2**19
"""What reads and writes more than this is better run by several threads, as XLA does with kernels of its own."""
_KNOWS_MARKS = jax.__version_info__ < (0, 12)
"""Whether this compiler is known to take the marks, which are no part of jax's interface."""


def one_kernel(num_bytes: int = _TINY_BYTES) -> Callable[[Callable[Inputs, Output]], Callable[Inputs, Output]]:
    """Decorate a function that is one kernel on a CPU, and what it is elsewhere.

    It may do no more than arithmetic on a few numbers: what XLA hands to a library, as it does with matrix products and
    with large sums, has no place in such a kernel, nor have loops and branches, nor, within a loop, many operations on
    thousands of numbers, which XLA would deal to threads. `jax.vmap`, `jax.grad` and `jax.jvp` pass through it,
    `jax.linear_transpose` does not.

    Arguments:
        num_bytes: the size in bytes of the state that the loop around the call carries, if there is one; under
            `jax.vmap` that of one lane.

    Returns:
        A decorator for a function from pytrees of arrays to pytrees of arrays, of any shapes.
    """

    def decorate(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
        @functools.wraps(function)
        def named(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
            return function(*args, **kwargs)

        named.__name__ = f"{_PREFIX}{function.__name__}"

        @functools.wraps(function)
        def marked(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
            leaves, treedef = jax.tree.flatten(jax.jit(named)(*args, **kwargs))
            return jax.tree.unflatten(treedef, _results_of_kernel.bind(*leaves, num_bytes=num_bytes))

        return marked

    return decorate


def in_memory(x: Tree) -> Tree:
    """The state `x` of a loop, a pytree of arrays, in memory on a CPU: nothing that reads it computes it anew."""
    return one_kernel(sum(leaf.nbytes for leaf in jax.tree.leaves(x)))(lax.optimization_barrier)(x)


_results_of_kernel = Primitive("results_of_kernel")
"""The identity, on the results of the call that is to be marked."""
_results_of_kernel.multiple_results = True
_results_of_kernel.def_impl(lambda *results, **_: list(results))
_results_of_kernel.def_abstract_eval(lambda *results, **_: list(results))


def _differentiate(primals: Any, tangents: Any, **settings: Any) -> tuple[Any, Any]:
    return _results_of_kernel.bind(*primals, **settings), tangents


def _batch(results: Any, axes: Any, *, num_bytes: int) -> tuple[Any, Any]:
    """The loop carries the states of all lanes."""
    sizes = [leaf.shape[axis] for leaf, axis in zip(results, axes, strict=True) if axis is not None]
    return _results_of_kernel.bind(*results, num_bytes=num_bytes * sizes[0]), axes


def _lower(context: mlir.LoweringRuleContext, *results: Any, num_bytes: int) -> list[Any]:
    """On a CPU call a copy of the function instead that takes its arguments as one tuple, and mark that call.

    The compiler puts a constant argument into the function and then has no use for it, on which it gives up; of a tuple
    something is always used.
    """
    # A transformation may have put something else in the place of the call: that is left alone.
    calls = {result.owner for result in results if getattr(result.owner, "name", None) == "func.call"}
    calls = {call for call in calls if str(call.attributes["callee"]).startswith(f"@{_PREFIX}")}
    module = context.module_context
    if len(calls) != 1 or not _is_for_one_cpu(context) or num_bytes < _TINY_BYTES:
        return list(results)
    (call,) = calls
    if sum(_num_bytes(value.type) for value in [*call.operands, *call.results]) > _LARGE_BYTES:
        return list(results)
    operands, types = list(call.operands), [result.type for result in call.results]
    packed = [stablehlo.tuple(operands)] if operands else []
    with ir.InsertionPoint(module.module.body):
        signature = ir.FunctionType.get([pack.type for pack in packed], types)
        whole = func.FuncOp("whole", signature, visibility="private")
    symbol = module.symbol_table.insert(whole).value
    with ir.InsertionPoint(whole.add_entry_block()):
        parts = [stablehlo.get_tuple_element(whole.arguments[0], i) for i in range(len(operands))]
        func.ReturnOp(func.CallOp(types, call.attributes["callee"], parts).results)
    marked = func.CallOp(types, ir.FlatSymbolRefAttr.get(symbol), packed)
    marks: dict[str, ir.Attribute] = {mark: ir.StringAttr.get(setting) for mark, setting in _MARKS.items()}
    marked.operation.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get(marks)
    places = {result: place for place, result in enumerate(call.results)}
    return [marked.results[places[result]] if result in places else result for result in results]


def _is_for_one_cpu(context: mlir.LoweringRuleContext) -> bool:
    """Whether a program is one that marks are for. The partitioner for several devices would take tuples apart, and
    shapes of an exported program may not be known yet.
    """
    module, devices = context.module_context, context.module_context.axis_context
    is_alone = isinstance(devices, mlir.ShardingContext) and devices.num_devices == 1
    is_known = not module.shape_poly_state.dim_vars
    return _KNOWS_MARKS and is_alone and is_known and tuple(context.platforms or module.platforms) == ("cpu",)


def _num_bytes(kind: ir.Type) -> int:
    """The size of a value of this type, whose shape is known."""
    tensor = ir.RankedTensorType(kind)
    element = tensor.element_type
    width = element.width if isinstance(element, ir.IntegerType | ir.FloatType) else 128
    return math.prod(tensor.shape) * max(1, width // 8)


ad.primitive_jvps[_results_of_kernel] = _differentiate
batching.primitive_batchers[_results_of_kernel] = _batch
mlir.register_lowering(_results_of_kernel, _lower, cacheable=False)
