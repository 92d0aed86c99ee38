"""Scheduling with limited fast memory: fused groups, tile granularity, retained tensors."""
