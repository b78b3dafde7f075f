"""DRM runs pytest suites as workloads on dynamically managed resources.

(PYTEST_DONT_REWRITE: this package holds no assertions for pytest to rewrite.)
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
