"""The command ``drm``: parse, call, print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from drm import __version__

_REPORTS = Path("reports")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (pytest's for ``drm run``, 4 for a usage error)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    if not any(argument.split("=")[0] == "--drm-report-dir" for argument in arguments):
        arguments = ["--drm-report-dir", str(_REPORTS / "run"), *arguments]
    plugin = [] if _is_installed() else ["-p", "drm.pytest_plugin"]
    code = int(pytest.main([*plugin, "--drm", *arguments]))
    if wants_report and code in (0, 1, 2, 3):
        _show_reports()
    return code


def _is_installed() -> bool:
    """Tell whether pytest finds the plugin by itself (not when run from a source tree that is not installed)."""
    from importlib.metadata import entry_points

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
