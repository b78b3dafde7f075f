"""One junit.xml, as pytest writes it: read without trust, for a test can put anything into it.

defusedxml refuses what an XML file can do to its reader: entities that grow to gigabytes, files and addresses
that it asks for (OWASP: XML External Entity Prevention; Python: XML vulnerabilities).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from drm.model.errors import ConfigError
from drm.reporting.text import one_line

__all__ = ["Case", "Suite", "load_xml_parser", "read_junit", "read_xml"]

_MOST_BYTES = 256 * 2**20
_REMEDY = "run the stage again"
_VERDICTS = ("failure", "error", "skipped")
_OUTPUTS = ("system-out", "system-err")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test of the file. ``verdict``: ``failure``, ``error``, ``skipped``, or empty for one that passed.

    ``file`` and ``line``: where it is defined, in files of pytest's family xunit1; empty in others.
    """

    classname: str
    name: str
    time_s: float = 0.0
    verdict: str = ""
    message: str = ""
    text: str = ""
    file: str = ""
    line: str = ""
    outputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A test suite of the file. ``timestamp``: when it began, as it says."""

    cases: tuple[Case, ...]
    timestamp: str = ""
    hostname: str = ""
    time_s: float = 0.0


def load_xml_parser() -> Any:
    """Return defusedxml's parser; ConfigError where it is not installed."""
    try:
        from defusedxml import ElementTree
    except ImportError as error:
        remedy = "python -m pip install 'drm-testing[ci]'"
        raise ConfigError("defusedxml is not installed: no junit.xml can be read safely", remedy=remedy) from error
    return ElementTree


def read_junit(path: Path, name: str) -> tuple[Suite, ...]:
    """Return the suites of the file; ConfigError, beginning with ``name``, for one that cannot be trusted."""
    root = read_xml(path, name)
    if root.tag not in ("testsuites", "testsuite"):
        raise ConfigError(f"{name}: is no junit.xml (its first element is {one_line(root.tag, 40)!r})", remedy=_REMEDY)
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    return tuple(_suite(suite) for suite in suites)


def read_xml(path: Path, name: str, *, with_dtd: bool = False) -> Element:
    """Return the first element of an XML file; ConfigError, beginning with ``name``, for one that cannot be trusted.

    ``with_dtd``: one that names its document type is taken; entities are refused all the same.
    """
    parser = load_xml_parser()
    from defusedxml import DefusedXmlException

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{name}: is larger than {_MOST_BYTES >> 20} MiB and was not read", remedy=_REMEDY)
        root: Element = parser.fromstring(path.read_bytes(), forbid_dtd=not with_dtd)
    except DefusedXmlException as error:
        what = type(error).__name__.replace("Forbidden", "").lower()
        raise ConfigError(
            f"{name}: was not read: it declares {what}, which no test result needs", remedy=_REMEDY
        ) from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error})", remedy=_REMEDY) from error
    except (SyntaxError, ValueError, LookupError) as error:  # SyntaxError: ElementTree's ParseError is one
        raise ConfigError(f"{name}: is damaged ({one_line(str(error))})", remedy=_REMEDY) from error
    return root


def _suite(element: Element) -> Suite:
    return Suite(
        cases=tuple(_cases(element.findall("testcase"))),
        timestamp=element.get("timestamp", ""),
        hostname=element.get("hostname", ""),
        time_s=_seconds(element.get("time")),
    )


def _cases(elements: list[Element]) -> Iterator[Case]:
    for element in elements:
        verdict = next((child for child in element if child.tag in _VERDICTS), None)
        yield Case(
            classname=element.get("classname", ""),
            name=element.get("name", ""),
            time_s=_seconds(element.get("time")),
            verdict=verdict.tag if verdict is not None else "",
            message=verdict.get("message", "") if verdict is not None else "",
            text=(verdict.text or "") if verdict is not None else "",
            file=element.get("file", ""),
            line=element.get("line", ""),
            outputs=tuple((child.tag, child.text or "") for child in element if child.tag in _OUTPUTS),
        )


def _seconds(text: str | None) -> float:
    try:
        value = float(text or 0.0)
    except ValueError:
        return 0.0
    return value if 0.0 <= value < 1e9 else 0.0
