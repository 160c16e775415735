"""A batch dealt to the devices of a mesh, each with a queue of its own.

Nothing is exchanged while trajectories are stepped; what they share gets one summed gradient at the end.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from node_jax.stepping.batch import longest_first


def check_mesh(mesh: Any, batch_axis: Any) -> None:
    """Raise `TypeError` or `ValueError` unless `mesh` is a mesh with that axis."""
    if not isinstance(mesh, (Mesh, AbstractMesh)):
        raise TypeError(
            f"odeint_batch: expected mesh to be a jax.sharding.Mesh, as jax.make_mesh((8,), ('data',)) makes it, got "
            f"{type(mesh).__name__}."
        )
    if batch_axis not in mesh.axis_names:
        raise ValueError(
            f"odeint_batch: expected batch_axis to be an axis of the mesh, {mesh.axis_names}, got {batch_axis!r}."
        )


def mesh_of(batch_axis: str, leaves: Sequence[Any]) -> Any:
    """The mesh over whose explicit axis `batch_axis` a leaf's first axis is sharded; `None` without one."""
    for leaf in leaves:
        sharding = getattr(jax.typeof(leaf), "sharding", None)
        if not isinstance(sharding, NamedSharding) or not sharding.spec:
            continue
        if sharding.spec[0] not in (batch_axis, (batch_axis,)):
            continue
        mesh = sharding.mesh
        if dict(zip(mesh.axis_names, mesh.axis_types, strict=True))[batch_axis] == AxisType.Explicit:
            return mesh
    return None


def deal(size: int, num_devices: int) -> tuple[np.ndarray, np.ndarray]:
    """Which trajectory is in each place, device by device, and where each trajectory is.

    They are dealt in turn, so that a batch with the longest first loads all devices alike. Places without a trajectory
    hold `size`.

    Arguments:
        size: how many trajectories there are.
        num_devices: how many devices.

    Returns:
        A trajectory for each place, of shape (num_devices * ceil(size / num_devices),), and a place for each
        trajectory, of shape (size,).
    """
    length = -(-size // num_devices)
    order = np.arange(length * num_devices).reshape(length, num_devices).T.reshape(-1)
    places = np.empty(length * num_devices, int)
    places[order] = np.arange(order.size)
    return np.minimum(order, size), places[:size]


def over_devices(
    mesh: Any,
    batch_axis: str,
    leaves: Sequence[Any],
    is_mapped: Sequence[bool],
    size: int,
    run: Callable[[list[Any]], tuple[Any, Any]],
    *,
    expected: Any = None,
    stays: bool,
) -> tuple[Any, Any]:
    """`run(leaves)` with the trajectories dealt to the devices along `batch_axis`.

    Arguments:
        mesh: the mesh; along its other axes everything is repeated.
        batch_axis: its axis.
        leaves: arrays; those in `is_mapped` have a leading axis of `size` trajectories.
        is_mapped: which ones do.
        size: how many trajectories there are.
        run: `run(leaves)` for fewer trajectories returns what has a leading axis of them, and what has one of length 1.
        expected: what each trajectory is expected to cost: they are dealt the longest first; `None` for the order of
            the batch.
        stays: whether trajectories are on their devices already, instead of being dealt in turn.

    Returns:
        The first with all trajectories, the second with an axis of devices.
    """
    order, places = deal(size, mesh.shape[batch_axis])
    by_row, shared = PartitionSpec(batch_axis), PartitionSpec()
    specs = [by_row if mapped else shared for mapped in is_mapped]
    is_explicit = AxisType.Explicit in mesh.axis_types

    def put(leaf: Any, spec: PartitionSpec) -> Any:
        return jax.sharding.reshard(leaf, NamedSharding(mesh, spec)) if is_explicit else leaf

    def gather(leaf: Any, rows: Any) -> Any:
        return leaf if stays else put(leaf, shared)[rows]

    # A place without a trajectory repeats the last, which takes no longer than some other on its device.
    index = np.minimum(order, size - 1)
    if expected is not None and not stays:
        queue = longest_first(put(expected, shared))
        index, places = queue[index], jnp.asarray(places)[jnp.argsort(queue)]
    placed = [
        put(gather(leaf, index) if mapped else leaf, spec)
        for leaf, mapped, spec in zip(leaves, is_mapped, specs, strict=True)
    ]
    rows, totals = jax.shard_map(
        lambda *leaves: run(list(leaves)), mesh=mesh, in_specs=tuple(specs), out_specs=by_row, check_vma=False
    )(*placed)
    return jax.tree.map(lambda leaf: gather(leaf, places), rows), jax.tree.map(lambda leaf: put(leaf, shared), totals)
