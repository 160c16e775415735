"""Paths between known values: the dense output of a Runge-Kutta step."""
