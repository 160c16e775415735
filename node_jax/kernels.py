"""Arithmetic on a few numbers as one kernel of the compiled program.

XLA compiles each fused computation of a CPU program by itself, which takes it several milliseconds however little there
is to compute, and starts it by itself in every pass of a loop. The bookkeeping of a step is a dozen of them. A call
that is marked is compiled into one function instead, the way XLA treats loops that carry little
(`SmallWhileLoopHoistingPass` and `ComputationKernelEmitter` of XLA's CPU compiler).
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")

_MARKS = {"inlineable": "false", "xla_cpu_small_call": "true"}
_TINY_BYTES = 64
"""XLA compiles a loop over steps whole, as one function, if its state is smaller; a call within would prevent that."""


def one_kernel(num_bytes: int = _TINY_BYTES) -> Callable[[Callable[Inputs, Output]], Callable[Inputs, Output]]:
    """Decorate a function that is one kernel on a CPU, and what it is elsewhere.

    It may do no more than elementwise arithmetic on a few numbers: what XLA hands to a library, as it does with matrix
    products, has no place in such a kernel. The first array that it returns must be computed in it.

    Arguments:
        num_bytes: the size of the state that the loop around the call carries, if there is one; under `jax.vmap` that
            of one lane.
    """

    def decorate(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
        @functools.wraps(function)
        def marked(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
            leaves, treedef = jax.tree.flatten(jax.jit(function)(*args, **kwargs))
            if leaves:
                leaves[0] = _result_of_kernel.bind(leaves[0], name=function.__name__, num_bytes=num_bytes)
            return jax.tree.unflatten(treedef, leaves)

        return marked

    return decorate


_result_of_kernel = Primitive("result_of_kernel")
"""The identity, on a result of the call that is to be marked."""
_result_of_kernel.def_impl(lambda x, **_: x)
_result_of_kernel.def_abstract_eval(lambda x, **_: x)
ad.deflinear2(_result_of_kernel, lambda cotangent, _, **__: (cotangent,))


def _batch(args: Any, axes: Any, *, name: str, num_bytes: int) -> tuple[Any, Any]:
    """The loop carries the states of all lanes."""
    (x,), (axis,) = args, axes
    return _result_of_kernel.bind(x, name=name, num_bytes=num_bytes * x.shape[axis]), axis


def _lower(context: mlir.LoweringRuleContext, value: Any, **_: Any) -> list[Any]:
    del context
    return [value]


def _lower_on_cpu(context: mlir.LoweringRuleContext, value: Any, *, name: str, num_bytes: int) -> list[Any]:
    del context
    call = value.owner
    # A transformation may have put another operation in the place of the call: that one is left alone.
    is_call = getattr(call, "name", None) == "func.call"
    if is_call and str(call.attributes["callee"]).startswith(f"@{name}") and num_bytes >= _TINY_BYTES:
        marks = {mark: mlir.ir.StringAttr.get(setting) for mark, setting in _MARKS.items()}
        call.attributes["mhlo.frontend_attributes"] = mlir.ir.DictAttr.get(marks)
    return [value]


batching.primitive_batchers[_result_of_kernel] = _batch
mlir.register_lowering(_result_of_kernel, _lower, cacheable=False)
mlir.register_lowering(_result_of_kernel, _lower_on_cpu, platform="cpu", cacheable=False)
