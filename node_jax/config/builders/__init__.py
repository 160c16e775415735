"""What becomes of each part of a config: fan-in happens in `node_jax.config.build`, and only there."""
