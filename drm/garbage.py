"""Python's searches for garbage, kept away from what stays for the whole run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_search_for_garbage", "rare_searches_for_garbage"]

_RARELY = 50_000  # new objects from one search to the next


@contextmanager
def rare_searches_for_garbage() -> Iterator[None]:
    """For code that makes many objects, some of which stay: each search goes through all of them."""
    usual = gc.get_threshold()
    if usual[0]:  # else they are switched off altogether
        gc.set_threshold(max(usual[0], _RARELY), *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def no_search_for_garbage() -> Iterator[None]:
    """For what makes many objects that all stay until the end: no later search looks at them either."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
