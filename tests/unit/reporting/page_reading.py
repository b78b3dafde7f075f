"""Reads report.html as its scripts do: the payload, its columns, and what is left without code."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

_DATA = re.compile(r'(<script type="application/octet-stream" id="data">)([^<]*)(</script>)')
_CODE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True)
class Payload:
    text: str
    header: dict[str, Any]
    body: bytes

    def column(self, place: list[Any]) -> list[int]:
        """Return the numbers of a column, as page/data.js reads them."""
        offset, count, kind = place
        if kind == "d":
            return [value & 255 for value in accumulate(self.body[offset : offset + count])]
        planes = [self.body[offset + count * plane : offset + count * (plane + 1)] for plane in range(4)]
        values = [sum(byte << 8 * plane for plane, byte in enumerate(four)) for four in zip(*planes, strict=True)]
        return [(value >> 1) ^ -(value & 1) for value in values] if kind == "z" else values

    def steps(self, place: list[Any]) -> list[int]:
        return list(accumulate(self.column(place)))


def read_payload(page: str) -> Payload:
    """Return the payload of a page; no character of it may end the element that it is in."""
    found = _DATA.findall(page)
    assert len(found) == 1
    return read_packed(found[0][1])


def read_packed(text: str) -> Payload:
    assert re.fullmatch(r"[A-Za-z0-9+/]*=*", text)
    whole = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(whole[:4], "little")
    return Payload(text, json.loads(whole[4 : 4 + length]), whole[4 + length :])


def skeleton(page: str, *, with_header: bool = False) -> str:
    """Return the page without its code and policy; on wish with its payload's header, to be read by a person."""
    header = json.dumps(read_payload(page).header, indent=1) if with_header else ""
    page = _DATA.sub(lambda match: f"{match[1]}{header}{match[3]}", page)
    page = _CODE.sub(lambda match: f"<{match[1]}></{match[1]}>", page)
    return re.sub(r'(<meta http-equiv="Content-Security-Policy" content=")[^"]*', r"\1", page)
