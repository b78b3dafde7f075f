"""CI/CD integration: what a pipeline needs to know of a suite, and what it says of a run.

Every module here works on values that it is given; ``drm.ci_commands`` collects, reads and wires.
"""
