"""What can be differentiated in forward mode alone, with an error that says so.

A loop whose length is known at run time has no transpose. JAX finds that deep inside the loop and speaks of loops; this
is the identity around what comes out of one, and its transpose is the error that a user can act on.
"""

from typing import Any, TypeVar

import equinox as eqx
import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Tree = TypeVar("Tree")


def forward_only(x: Tree, why: str) -> Tree:
    """The identity, with the tangents of `x` but without their transpose.

    Arguments:
        x: a pytree; its floating-point arrays, of any shapes, are guarded.
        why: the message of the error.

    Returns:
        `x`. Forward mode and `jax.vmap` pass through.

    Raises:
        TypeError: with `why`, when reverse mode asks for a cotangent of `x`.
    """
    arrays, others = eqx.partition(x, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(arrays)
    return eqx.combine(jax.tree.unflatten(treedef, _forward_only.bind(*leaves, why=why)), others)


_forward_only = Primitive("forward_only")
_forward_only.multiple_results = True
_forward_only.def_impl(lambda *leaves, **_: list(leaves))
_forward_only.def_abstract_eval(lambda *leaves, **_: list(leaves))


def _differentiate(primals: Any, tangents: Any, *, why: str) -> tuple[Any, Any]:
    is_zero = [isinstance(tangent, ad.Zero) for tangent in tangents]
    some = iter(_forward_only.bind(*[t for t, zero in zip(tangents, is_zero, strict=True) if not zero], why=why))
    moved = [t if zero else next(some) for t, zero in zip(tangents, is_zero, strict=True)]
    return _forward_only.bind(*primals, why=why), moved


def _transpose(cotangents: Any, *_: Any, why: str) -> Any:
    del cotangents
    raise TypeError(why)


def _lower(_: mlir.LoweringRuleContext, *leaves: Any, why: str) -> list[Any]:
    del why
    return list(leaves)


ad.primitive_jvps[_forward_only] = _differentiate
ad.primitive_transposes[_forward_only] = _transpose
batching.primitive_batchers[_forward_only] = lambda leaves, axes, *, why: (_forward_only.bind(*leaves, why=why), axes)
mlir.register_lowering(_forward_only, _lower)
