"""Plain forecasts that a model has to beat."""

from dataclasses import dataclass

import numpy as np


def last_value_forecast(history: np.ndarray, horizon: int) -> np.ndarray:
    """The last row of `history` (time, dim), `horizon` times."""
    return np.repeat(history[-1:], horizon, axis=0)


@dataclass(frozen=True)
class VectorAutoregression:
    """x_n = c + Σ_{l=1..order} A_l x_{n-l}, for evenly spaced rows.

    Arguments:
        order: number of lags.
        intercept: c, shape (dim,).
        lags: A_l, shape (order, dim, dim).
    """

    order: int
    intercept: np.ndarray
    lags: np.ndarray

    def forecast(self, history: np.ndarray, horizon: int) -> np.ndarray:
        """The next `horizon` rows after `history` (time, dim), each fed back as the next one's past."""
        rows = list(history[-self.order :])
        for _ in range(horizon):
            past = rows[-self.order :][::-1]
            rows.append(self.intercept + sum(lag @ row for lag, row in zip(self.lags, past, strict=True)))
        return np.asarray(rows[self.order :])


def fit_vector_autoregression(history: np.ndarray, max_order: int = 5) -> VectorAutoregression:
    """The vector autoregression that least squares gives, its order by Akaike's criterion.

    AIC = n log det Σ + 2 (number of coefficients), Σ the residual covariance; every order is scored on the same rows.

    Arguments:
        history: shape (time, dim), evenly spaced.
        max_order: largest number of lags tried.

    Reference: Lütkepohl (2005), New Introduction to Multiple Time Series Analysis, 3.2 and 4.3.
    """
    num_rows, dim = history.shape
    if num_rows <= max_order + dim * max_order + 1:
        raise ValueError(
            f"Expected more than {max_order + dim * max_order + 1} rows for order {max_order}, got {num_rows}."
        )

    def fit(order: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        past = [history[first - lag : num_rows - lag] for lag in range(1, order + 1)]
        design = np.concatenate([np.ones((num_rows - first, 1)), *past], axis=1)
        coefficients = np.linalg.lstsq(design, history[first:], rcond=None)[0]
        return coefficients, history[first:] - design @ coefficients

    def criterion(order: int) -> float:
        coefficients, residual = fit(order, max_order)
        covariance = residual.T @ residual / len(residual)
        return len(residual) * np.linalg.slogdet(covariance)[1] + 2 * coefficients.size

    order = min(range(1, max_order + 1), key=criterion)
    coefficients, _ = fit(order, order)
    lags = coefficients[1:].reshape(order, dim, dim).transpose(0, 2, 1)
    return VectorAutoregression(order, coefficients[0], lags)
