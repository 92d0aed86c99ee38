"""Machine descriptions and their cost formulas."""
