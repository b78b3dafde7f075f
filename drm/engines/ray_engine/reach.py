"""Asking a machine itself whether it still is what it was, where Ray only says that it does not answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["has_ended"]

_WAIT_S = 1.0


async def has_ended(address: str, port: int) -> bool:
    """Tell whether a machine's Ray has surely ended: the machine says that nothing listens on the port any more.

    One that is cut off, or stands still, says nothing; so does one without power. With its Ray end the agents on it,
    and what they started. Port 0 is one that is not known.
    """
    if not port:
        return False
    try:
        async with asyncio.timeout(_WAIT_S):
            _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return True
    except OSError:  # a time-out is one
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return False
