"""Dynamics with prior knowledge: one question a script, answered by configs of configs/physics over several seeds."""
