"""Accelerator compiler and scheduling planner."""
