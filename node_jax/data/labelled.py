"""Points with labels on the host, and two concentric spheres of them."""

from dataclasses import dataclass

import numpy as np

from node_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Vectors, each of one class.

    Arguments:
        inputs: shape (point, dim), finite.
        labels: shape (point,), integers that count in `classes`.
        classes: one name a class, at least two.
        source: for reports.

    Raises:
        UsageError: for shapes that do not fit, values that are not finite, and labels that no class has.
    """

    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str = "arrays"

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.labels.shape != self.inputs.shape[:1] or not np.isfinite(self.inputs).all():
            raise UsageError(
                "LabelledPoints: expected finite inputs (point, dim) and a label for each point, got "
                f"{self.inputs.shape} and {self.labels.shape}. Leave out points with missing values."
            )
        if len(self.classes) < 2 or not np.issubdtype(self.labels.dtype, np.integer):
            raise UsageError(
                f"LabelledPoints: expected integer labels of at least two classes, got {self.labels.dtype} and "
                f"{len(self.classes)} classes."
            )
        wrong = self.labels[(self.labels < 0) | (self.labels >= len(self.classes))]
        if wrong.size:
            raise UsageError(
                f"LabelledPoints: expected labels in [0, {len(self.classes)}), the places of their classes, got "
                f"{wrong[0]}."
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class LabelledSplits:
    """Points to fit, points to choose the best model by (or `None`), and points that nothing is chosen by."""

    train: LabelledPoints
    validation: LabelledPoints | None
    test: LabelledPoints


def draw_concentric_spheres(
    num_inner: int,
    num_outer: int,
    *,
    dim: int = 2,
    inner_radius: float = 0.5,
    outer_radii: tuple[float, float] = (1.0, 1.5),
    seed: int = 0,
) -> LabelledPoints:
    r"""A ball of class 0 within a shell of class 1, which no homeomorphism of the space can part by a plane.

    Directions are uniform. Radii are r0 + (r1 - r0) u^(1/dim) with u uniform in [0, 1): points are uniform in the ball,
    and nearly so in the shell.

    Arguments:
        num_inner, num_outer: points in the ball and in the shell.
        dim: of the space.
        inner_radius: of the ball.
        outer_radii: of the shell, inside and outside.
        seed: of the points.

    Raises:
        UsageError: for radii that do not grow.

    Reference: Dupont, Doucet & Teh (2019), arXiv:1904.01681, section 4.

    Example:
        >>> import node_jax as nj
        >>> nj.data.draw_concentric_spheres(2, 3).labels.tolist()
        [0, 0, 1, 1, 1]
    """
    if not 0 < inner_radius < outer_radii[0] < outer_radii[1]:
        raise UsageError(
            "draw_concentric_spheres: expected 0 < inner_radius < outer_radii[0] < outer_radii[1], got "
            f"{inner_radius} and {outer_radii}."
        )
    random = np.random.default_rng(seed)

    def draw(num: int, low: float, high: float) -> np.ndarray:
        directions = random.standard_normal((num, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return (low + (high - low) * random.uniform(size=(num, 1)) ** (1 / dim)) * directions

    inputs = np.concatenate([draw(num_inner, 0.0, inner_radius), draw(num_outer, *outer_radii)])
    labels = np.repeat([0, 1], [num_inner, num_outer])
    source = f"a ball and a shell around it in {dim} dimensions, seed {seed}"
    return LabelledPoints(inputs, labels, ("inner", "outer"), source)


def split_labelled(data: LabelledPoints, validation_share: float, test_share: float, seed: int = 0) -> LabelledSplits:
    """The points in random order, dealt to three sets.

    Arguments:
        data: all points.
        validation_share, test_share: of all points, each at least 0, together below 1; no validation with 0.
        seed: of the order.

    Raises:
        UsageError: for shares that leave nothing to fit or to test on.
    """
    num_validation, num_test = round(validation_share * len(data)), round(test_share * len(data))
    if min(num_validation, num_test - 1, len(data) - num_validation - num_test - 1) < 0:
        raise UsageError(
            "split_labelled: expected shares that leave points to fit and to test on, got "
            f"{validation_share} and {test_share} of {len(data)} points."
        )
    order = np.random.default_rng(seed).permutation(len(data))

    def part(rows: np.ndarray) -> LabelledPoints:
        return LabelledPoints(data.inputs[rows], data.labels[rows], data.classes, data.source)

    held_out, rest = order[num_test : num_test + num_validation], order[num_test + num_validation :]
    return LabelledSplits(part(rest), part(held_out) if num_validation else None, part(order[:num_test]))


def load_digits(validation_share: float = 0.1, test_share: float = 0.25, seed: int = 0) -> LabelledSplits:
    """1797 handwritten digits of 8 by 8 pixels with values from 0 to 1, in ten classes.

    They come with scikit-learn: `pip install node_jax[data]`.

    Reference: Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, doi:10.24432/C50P49.

    Raises:
        UsageError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise UsageError(
            "load_digits: expected scikit-learn, which brings the digits, got none. Install node_jax[data]."
        ) from error
    pixels, digits = load(return_X_y=True)
    classes = tuple(str(digit) for digit in range(10))
    data = LabelledPoints(pixels / 16.0, digits.astype(int), classes, "handwritten digits, 8 by 8 pixels")
    return split_labelled(data, validation_share, test_share, seed)
