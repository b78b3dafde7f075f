"""The command ``drm``: parse, call, print.

Nothing is imported before ``main`` is entered, so that Ctrl-C is answered in a line from then on.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

_REPORTS = "reports"
_USAGE_ERROR = 4  # pytest's


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (pytest's for ``drm run``, 4 for a usage error)."""
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv) or _command_to_complete())
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough: drm doctor | head
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return 1
    except KeyboardInterrupt:
        print("drm: interrupted", file=sys.stderr)
        return 2


# heading -> command -> (what it does, the function that does it)
_COMMANDS = {
    "Run tests": {
        "run": ("run tests: pytest --drm, then a report and badges", "drm.cli:_run"),
        "plan": ("say what a run would do: workers, decisions, cost, makespan", "drm.plan_command:main"),
        "simulate": ("run a suite in virtual time, on other workers", "drm.simulate_command:main"),
    },
    "What came of it": {
        "report": ("make a report of what stages or runs left", "drm.report_commands.report:main"),
        "dashboard": ("show a run as a page while it goes on", "drm.report_commands.dashboard:main"),
        "badges": ("make SVG and shields.io JSON badges of what stages left", "drm.cli:_badges"),
        "history": ("look at past attempts, carry them from place to place", "drm.history_command:main"),
        "bench": ("compare the benchmarks of two versions of a project", "drm.bench_commands:main"),
    },
    "Continuous integration": {
        "ci": ("what a pipeline needs to know of a suite, and says of a run", "drm.ci_commands:main"),
    },
    "Machines": {
        "coordinator": ("let other machines join, for drm run --coordinator", "drm.cluster_commands.coordinator:main"),
        "worker": ("let this machine join a coordinator", "drm.cluster_commands.worker:main"),
        "workers": ("list the machines of a coordinator", "drm.cluster_commands.workers:main"),
        "drain": ("let a machine finish what it runs, and leave", "drm.cluster_commands.drain:main"),
        "doctor": ("tell what works on this machine, and what to do", "drm.doctor_command:main"),
        "catalog": ("what types of machines clouds have, and what they cost", "drm.catalog_command:main"),
        "reap": ("end containers and instances that nobody needs any more", "drm.reap_command:main"),
    },
}


def _main(arguments: list[str]) -> int:
    commands = {name: does for group in _COMMANDS.values() for name, (_, does) in group.items()}
    does = commands.get(arguments[0]) if arguments else None
    if does is not None:  # what follows is its own
        from importlib import import_module

        module, _, name = does.partition(":")
        return int(getattr(import_module(module), name)(arguments[1:]))
    parser = _parser(list(commands))
    parser.parse_args(arguments)
    parser.print_help()
    return 0


def _command_to_complete() -> list[str]:
    """Return the command whose options a shell asks for, if it asks and the word after it is begun; else nothing.

    argcomplete calls the program without arguments and says in the environment what is typed (its documentation,
    "Global completion" and "Debugging"); _ARGCOMPLETE counts the words that are not the parser's to complete.
    """
    import os

    if "_ARGCOMPLETE" not in os.environ:
        return []
    typed = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))]
    words = typed.split()[1:]
    if not words or (len(words) == 1 and not typed[-1].isspace()):
        return []
    os.environ["_ARGCOMPLETE"] = "2"
    return words[:1]


def _parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    import argparse

    from drm import __version__
    from drm.command_line import Parser

    lines = []
    for heading, group in _COMMANDS.items():
        lines += [f"\n{heading}:", *(f"  {name:12}  {told}" for name, (told, _) in group.items())]
    parser = Parser(
        prog="drm",
        usage="drm [-h] [--version] COMMAND ...",
        description="Run pytest suites on dynamically managed resources.\n" + "\n".join(lines),
        epilog="drm COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"drm {__version__}")
    known = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    for name in commands:
        known.add_parser(name, add_help=False)
    return parser


class _Witness:
    """A pytest plugin that sees whether tests were run."""

    run_id = ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        controller = session.config.pluginmanager.get_plugin("drm-controller")
        self.run_id = getattr(controller, "run_id", "")


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["--help"], ["-h"]):
        from drm.run_help import RUN, print_help

        print_help(RUN)
        return 0
    from pathlib import Path

    import pytest

    from drm.model.errors import DrmError
    from drm.plugin_entry import arguments_for_plugin

    wants_report = "--drm-no-report" not in arguments
    arguments = [argument for argument in arguments if argument != "--drm-no-report"]
    arguments = [f"--drm-{word[2:]}" if word.partition("=")[0] == "--coordinator" else word for word in arguments]
    try:
        arguments, recorded = _resumed(arguments)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return _USAGE_ERROR
    folder, own = _report_dir(arguments), Path(_REPORTS, "run")
    if folder is None:
        folder = own
        arguments = ["--drm-report-dir", str(folder), *arguments]
    witness = _Witness()
    before = [] if recorded else [*arguments_for_plugin(), "--drm"]
    code = int(pytest.main([*before, *arguments], plugins=[witness]))
    # Without a test it was a run all the same where it should have had some: not with --help, --collect-only and
    # the like (0), nor where the command line was wrong (4).
    if wants_report and (witness.run_id or code not in (0, _USAGE_ERROR)):
        _write_status(folder, code, witness.run_id)
        if folder == own:
            _show_reports(own.parent)
        else:
            print(f"drm: the record of the run is in {folder}")
    return code


def _resumed(arguments: list[str]) -> tuple[list[str], bool]:
    """Put what pytest is to be told in the place of ``--resume RUN``; tell whether all of it is from that run's record.

    ConfigError where there is no such run.
    """
    at = next((n for n, argument in enumerate(arguments) if argument.partition("=")[0] == "--resume"), None)
    if at is None:
        return arguments, False
    from pathlib import Path

    from drm.model.errors import ConfigError
    from drm.resuming import command_of, read_interrupted, record_of

    _, equals, run = arguments[at].partition("=")
    others = [*arguments[:at], *arguments[at + 1 if equals else at + 2 :]]
    if not equals:
        run = "".join(arguments[at + 1 : at + 2])
    if not run:
        raise ConfigError("--resume names no run", remedy=f"give its folder, such as {_REPORTS}/run, or its id")
    folder = record_of(run, Path(_REPORTS))
    record = ["--drm-report-dir", str(folder), "--drm-resume", str(folder)]
    if others:
        return [*record, *others], False
    return [*command_of(read_interrupted(folder).started.command)[1:], *record], True


def _report_dir(arguments: list[str]) -> Path | None:
    """Return the folder that --drm-report-dir names, if it is given; the last counts, as for pytest."""
    from pathlib import Path

    for index, argument in reversed(list(enumerate(arguments))):
        name, equals, value = argument.partition("=")
        if name == "--drm-report-dir":
            following = arguments[index + 1 : index + 2]
            return Path(value) if equals else Path(*following)
    return None


_ENDS = {1: "tests failed", 2: "it was interrupted, or tests could not be collected", 3: "an internal error"}


def _write_status(folder: Path, code: int, run_id: str) -> None:
    """Say how the run ended, for when its record does not: nothing was collected, or pytest did not get that far.

    ``run_id`` is empty when no test was run: what else lies in the folder is then of an earlier run.
    """
    import json

    from drm.reporting.files import cannot_write

    passed = code in (0, 5)  # 5: there were no tests, which is no failure, and shown as "no tests"
    record = {
        "schema_version": 1,
        "stage": folder.name,
        "run_id": run_id,
        "status": "passed" if passed else "failed",
        "exit_code": code,
        "reason": "" if passed else _ENDS.get(code, f"pytest ended with exit code {code}"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"drm: {cannot_write(folder / 'status.json', error)}", file=sys.stderr)


def _show_reports(folder: Path) -> None:
    """Write the report and the badges, and say where they are; what cannot be written is said in a line."""
    from drm.model.errors import DrmError

    try:
        from drm.report_commands.past import report_of
        from drm.reporting import write_reports

        reports = write_reports(folder, formats=("html", "md", "json"), report=report_of(folder))
        print(f"drm: report: {', '.join(map(str, reports.values()))}")
        from drm.github_badge_generator import generate_badges

        badges = generate_badges(folder, folder / "badges")
        print(f"drm: badges: {', '.join(str(path) for path in badges if path.suffix == '.svg')}")
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)


def _badges(arguments: list[str]) -> int:
    from drm.ci_commands.context import current_context
    from drm.github_badge_generator import main as generate

    return generate(arguments, prog="drm badges", context=current_context())


if __name__ == "__main__":
    sys.exit(main())
