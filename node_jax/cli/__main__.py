"""`python -m node_jax.cli` is `node-jax`."""

from node_jax.cli import main

raise SystemExit(main())
