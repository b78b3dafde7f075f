"""``drm simulate``: runs a scenario in virtual time and prints what it came to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import DrmError
from drm.simulator import read_scenario, result_lines, simulate

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run ``drm simulate ARGUMENTS``; return the exit code: 0, 1 for a run that is given up, 4 for what makes none."""
    options = _parser().parse_args(arguments)
    changes = [*options.changes, *([f"seed={options.seed}"] if options.seed is not None else [])]
    record = None if options.no_record else options.output_dir / "run" / "events.ndjson"
    try:
        result = simulate(read_scenario(options.scenario, changes), record=record)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return USAGE_ERROR
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print("\n".join(result_lines(result)))
        if record is not None:
            print(f"record       {record}; see it with: drm report --reports-dir {options.output_dir}")
    return 1 if result.problem else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="drm simulate", description="Run a suite in virtual time: what would it take on other workers?"
    )
    parser.add_argument("scenario", type=Path, help="a .yml or .json file, see docs/simulate.md")
    parser.add_argument("--seed", type=int, help="of all chance (default: the scenario's)")
    parser.add_argument(
        "--set", dest="changes", metavar="KEY=VALUE", action="append", default=[], help="such as workers.gpu.count=3"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("simulated"), help="where run/events.ndjson goes (default: simulated)"
    )
    parser.add_argument("--no-record", action="store_true", help="write no events.ndjson")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser
