"""Machine model: lowering, cycle-accurate engines, functional executor."""
