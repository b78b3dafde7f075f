"""Scaling against a planner that knows the future, a pool of fixed size, and plain utilization thresholds."""
