"""Graph passes, liveness and the greedy planner."""
