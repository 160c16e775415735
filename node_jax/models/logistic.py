"""Logistic regression: the plain classifier that a model has to beat."""

from dataclasses import dataclass

import numpy as np

_MOST_STEPS = 50
_SMALL_STEP = 1e-8


@dataclass(frozen=True)
class LogisticRegression:
    """p(class | x) = softmax(W x + b).

    Arguments:
        weights: W, shape (class, dim).
        bias: b, shape (class,).
    """

    weights: np.ndarray
    bias: np.ndarray

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """W x + b for inputs of shape (point, dim)."""
        return inputs @ self.weights.T + self.bias


def fit_logistic_regression(
    inputs: np.ndarray, labels: np.ndarray, num_classes: int, penalty: float = 1.0
) -> LogisticRegression:
    """The weights that minimize Σ -log p(label | x) + penalty/2 (|W|² + |b|²), by Newton's method.

    The penalty also keeps classes finite that a plane parts. The problem is convex, so that there is one minimum.

    Arguments:
        inputs: shape (point, dim), of about unit scale.
        labels: shape (point,), integers in [0, num_classes).
        num_classes: how many.
        penalty: > 0.

    Reference: Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, 4.4.
    """
    if not penalty > 0:
        raise ValueError(f"fit_logistic_regression: expected a penalty > 0, got {penalty!r}.")
    design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    target, size = np.eye(num_classes)[labels], design.shape[1]
    weights = np.zeros((num_classes, size))

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = design @ weights.T
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -(target * log_p).sum() + penalty / 2 * (weights**2).sum(), np.exp(log_p)

    value, p = objective(weights)
    for _ in range(_MOST_STEPS):
        gradient = (p - target).T @ design + penalty * weights
        # Of logits k and l: p_k (1[k = l] - p_l), summed over points.
        curvature = np.einsum("nk,kl->nkl", p, np.eye(num_classes)) - np.einsum("nk,nl->nkl", p, p)
        hessian = np.einsum("nkl,ni,nj->kilj", curvature, design, design, optimize=True)
        hessian = hessian.reshape(weights.size, weights.size) + penalty * np.eye(weights.size)
        step = np.linalg.solve(hessian, gradient.reshape(-1)).reshape(weights.shape)
        scale = 1.0
        while (found := objective(weights - scale * step))[0] > value and scale > _SMALL_STEP:
            scale /= 2
        weights, (value, p) = weights - scale * step, found
        if np.abs(scale * step).max() < _SMALL_STEP * max(1.0, np.abs(weights).max()):
            break
    return LogisticRegression(weights[:, :-1], weights[:, -1])
