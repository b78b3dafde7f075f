"""``drm doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence

from drm.command_line import Parser
from drm.doctor_command.checks import CHECKS, Finding, State

__all__ = ["main"]

_WIDTH = 80
_MARKS = {State.WORKS: "ok", State.ABSENT: "-", State.BROKEN: "!!"}


def main(arguments: Sequence[str]) -> int:
    """Run ``drm doctor ARGUMENTS``; return the exit code: 0, 1 where a run would not work, 4 for usage."""
    parser = Parser(prog="drm doctor", description="Tell what works on this machine, and what to do about the rest.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    findings = [(heading, check()) for heading, checks in CHECKS.items() for check in checks]
    if options.json:
        rows = [{"group": heading, **dataclasses.asdict(finding)} for heading, finding in findings]
        print(json.dumps({"schema_version": 1, "findings": rows}, indent=2))
    else:
        print("\n".join(_lines(findings)))
    return 1 if any(finding.state is State.BROKEN for _, finding in findings) else 0


def _lines(findings: Sequence[tuple[str, Finding]]) -> list[str]:
    lines: list[str] = []
    last = ""
    for heading, finding in findings:
        if heading != last:
            lines += ["", heading] if lines else [heading]
            last = heading
        first = f"  {_MARKS[finding.state]:2}  {finding.what:12}  "
        text = f"{finding.told}: {finding.remedy}" if finding.remedy else finding.told
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )
    broken = [finding.what for _, finding in findings if finding.state is State.BROKEN]
    return [*lines, "", f"Wants repair: {', '.join(broken)}" if broken else "Tests can be run here."]
