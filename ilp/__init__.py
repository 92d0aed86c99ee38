"""Exact planners and allocation on open solvers."""
