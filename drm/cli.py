"""The command ``drm``: parse, call, print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from drm import __version__

_REPORTS = Path("reports")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (pytest's for ``drm run``, 4 for a usage error)."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("drm: interrupted", file=sys.stderr)
        return 2


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:  # everything after it is pytest's
        return _run(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    from drm.model.errors import DrmError

    try:
        return int(options.call(options))
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return 4


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drm", description="Run pytest suites on dynamically managed resources.")
    parser.add_argument("--version", action="version", version=f"drm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run tests: pytest --drm, then a report and badges", add_help=False)
    report = commands.add_parser("report", help="make report.json, report.md and report.html of what stages left")
    report.add_argument("--reports-dir", type=Path, default=_REPORTS, help="where the stages wrote (default: reports)")
    report.add_argument("--output-dir", type=Path, default=None, help="where to write (default: the same folder)")
    report.set_defaults(call=_report)
    badges = commands.add_parser("badges", help="make SVG and shields.io JSON badges of what stages left")
    badges.add_argument("--reports-dir", type=Path, default=_REPORTS, help="where the stages wrote (default: reports)")
    badges.add_argument("--output-dir", type=Path, default=Path(".github/badges"), help="default: .github/badges")
    badges.set_defaults(call=_badges)
    return parser


_RUN_HELP = """\
usage: drm run [PYTEST OPTIONS] [--drm-... OPTIONS] [--drm-no-report] [FILES]

Run tests on resources that DRM manages: pytest with --drm. Everything pytest takes
is taken, and ends with pytest's exit code. The record of the run goes to reports/run/
(--drm-report-dir), then the report to reports/ and badges to reports/badges/
(not with --drm-no-report). "pytest --help" lists the --drm-... options under "dynamic
resource management".
"""


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["--help"], ["-h"]):
        print(_RUN_HELP)
        return 0
    import pytest

    wants_report = "--drm-no-report" not in arguments
    arguments = [argument for argument in arguments if argument != "--drm-no-report"]
    folder = _report_dir(arguments)
    if folder is None:
        folder = _REPORTS / "run"
        arguments = ["--drm-report-dir", str(folder), *arguments]
    _forget(folder)
    plugin = [] if _is_installed() else ["-p", "drm.pytest_plugin"]
    code = int(pytest.main([*plugin, "--drm", *arguments]))
    ran = (folder / "events.ndjson").exists()
    if wants_report and (ran or code):  # neither: --help, --collect-only and the like
        _write_status(folder, code)
        if folder == _REPORTS / "run":
            _show_reports()
        else:
            print(f"drm: the record of the run is in {folder}")
    return code


def _report_dir(arguments: list[str]) -> Path | None:
    """Return the folder that --drm-report-dir names, if it is given."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--drm-report-dir":
            following = arguments[index + 1 : index + 2]
            return Path(value) if equals else Path(*following)
    return None


def _forget(folder: Path) -> None:
    """Remove the record of the run before: it must not pass for one of this run."""
    for name in ("events.ndjson", "results.json", "status.json"):
        with suppress(OSError):
            (folder / name).unlink()


_ENDS = {1: "tests failed", 2: "it was interrupted, or tests could not be collected", 3: "an internal error"}


def _write_status(folder: Path, code: int) -> None:
    """Say how the run ended, for when its record does not: nothing was collected, or pytest did not get that far."""
    import json

    passed = code in (0, 5)  # 5: there were no tests, which is no failure, and shown as "no tests"
    record = {
        "schema_version": 1,
        "stage": folder.name,
        "status": "passed" if passed else "failed",
        "exit_code": code,
        "reason": "" if passed else _ENDS.get(code, f"pytest ended with exit code {code}"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"drm: cannot write {folder / 'status.json'}: {error.strerror}", file=sys.stderr)


def _is_installed() -> bool:
    """Tell whether pytest finds the plugin by itself (not when run from a source tree that is not installed)."""
    import os
    from importlib.metadata import entry_points

    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return False
    return any(entry.value == "drm.pytest_plugin" for entry in entry_points(group="pytest11"))


def _show_reports() -> None:
    """Write the report and the badges, and say where they are; what cannot be written is said in a line."""
    from drm.model.errors import DrmError

    try:
        from drm.reporting import write_reports

        reports = write_reports(_REPORTS, formats=("html", "md", "json"))
        print(f"drm: report: {', '.join(map(str, reports.values()))}")
        from drm.github_badge_generator import generate_badges

        badges = generate_badges(_REPORTS, _REPORTS / "badges")
        print(f"drm: badges: {', '.join(str(path) for path in badges if path.suffix == '.svg')}")
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)


def _report(options: argparse.Namespace) -> int:
    from drm.reporting import write_reports

    for name, path in write_reports(options.reports_dir, out_dir=options.output_dir).items():
        print(f"{name}: {path}")
    return 0


def _badges(options: argparse.Namespace) -> int:
    from drm.github_badge_generator import generate_badges

    for path in generate_badges(options.reports_dir, options.output_dir):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
