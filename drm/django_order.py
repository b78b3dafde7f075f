"""The order of Django's tests: those that empty the database come after those that find in it what migrations left."""

from __future__ import annotations

import sys

import pytest

__all__ = ["ANY_TIME", "turn_of"]

ANY_TIME, _ROLLED_BACK, _EMPTIES = 0, 1, 2
_EMPTYING = frozenset({"transactional_db", "live_server", "django_db_reset_sequences"})


def turn_of(item: pytest.Item) -> int:
    """Return when the test's turn is in a process, as pytest-django and Django's own runner have it.

    A test with transactions of its own leaves empty tables behind; what a data migration or a session fixture had put
    there is gone for all that follow. A plain test's transaction is rolled back.
    """
    if not item.config.pluginmanager.hasplugin("django"):
        return ANY_TIME
    django = sys.modules.get("django.test")
    cls = getattr(item, "cls", None)
    if django is not None and isinstance(cls, type) and issubclass(cls, django.TransactionTestCase):
        return _ROLLED_BACK if issubclass(cls, django.TestCase) else _EMPTIES
    marker = item.get_closest_marker("django_db")
    fixtures = frozenset(getattr(item, "fixturenames", ()))
    if fixtures & _EMPTYING or (marker is not None and _has_transactions(*marker.args, **marker.kwargs)):
        return _EMPTIES
    return _ROLLED_BACK if marker is not None or "db" in fixtures else ANY_TIME


def _has_transactions(
    transaction: object = False, reset_sequences: object = False, *_more: object, **_others: object
) -> bool:
    return bool(transaction or reset_sequences)
