"""Rooted trees and the elementary weights of Runge-Kutta methods on them.

Notation of Butcher (2016), Numerical Methods for Ordinary Differential Equations, chapter 3: a tree [t1, ..., tm] is
the tuple of its branches, so that the tree of order 1 is the empty tuple.
"""

from collections import Counter
from functools import cache
from math import factorial, prod
from typing import Any

import numpy as np


@cache
def trees_of_order(order: int) -> tuple[Any, ...]:
    """All rooted trees with `order` vertices: 1, 1, 2, 4, 9, 20, 48, 115 for orders 1 to 8."""
    return tuple(_forests(order - 1, order - 1, 0))


def trees_up_to(order: int) -> list[Any]:
    """All rooted trees with at most `order` vertices."""
    return [tree for n in range(1, order + 1) for tree in trees_of_order(n)]


def _forests(size: int, largest: int, first: int) -> list[Any]:
    """Forests of `size` vertices whose trees come in falling order and start at tree `first` of order `largest`."""
    if size == 0:
        return [()]
    found: list[Any] = []
    for order in range(min(size, largest), 0, -1):
        trees = trees_of_order(order)
        start = first if order == largest else 0
        for index in range(start, len(trees)):
            found += [(trees[index], *rest) for rest in _forests(size - order, order, index)]
    return found


@cache
def order_of(tree: Any) -> int:
    """The number of vertices."""
    return 1 + sum(order_of(branch) for branch in tree)


@cache
def density(tree: Any) -> int:
    """γ: the order of the tree times the densities of its branches."""
    return order_of(tree) * prod(density(branch) for branch in tree)


@cache
def symmetry(tree: Any) -> int:
    """σ: the number of ways to map the tree onto itself."""
    branches = Counter(tree)
    return prod(factorial(number) * symmetry(branch) ** number for branch, number in branches.items())


def stage_weights(a: np.ndarray, tree: Any) -> np.ndarray:
    """Φ_i of every stage: 1 for a single vertex, else the product over the branches of Σ_j a_ij Φ_j(branch)."""
    return np.prod([a @ stage_weights(a, branch) for branch in tree], axis=0) if tree else np.ones(len(a), a.dtype)
