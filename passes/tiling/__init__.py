"""Tiling: planning below the operator. See :mod:`stowplan.passes.tiling.tile`."""
