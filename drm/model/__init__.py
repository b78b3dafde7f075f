"""Frozen values that the whole system speaks in. Standard library only; imports nothing above."""
