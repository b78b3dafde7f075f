"""The help of ``drm run`` and ``drm plan``: what they do, and the options that DRM adds to pytest's."""

from __future__ import annotations

import argparse

from drm.added_options import add_options

__all__ = ["PLAN", "RUN", "print_help"]

RUN = """\
usage: drm run [PYTEST OPTIONS] [--drm-... OPTIONS] [--drm-no-report]
               [--coordinator HOST:PORT] [FILES]
       drm run --resume RUN

Run tests on resources that DRM manages: pytest with --drm. Everything pytest
takes is taken, and it ends with pytest's exit code. The record of the run goes
to reports/run/ (--drm-report-dir), then the report to reports/ and badges to
reports/badges/ (not with --drm-no-report).

  drm run -k price -x               pytest's options choose, as always
  drm run --drm-executors 4         in 4 processes
  drm run --drm-memory 8GiB         tests together use no more than that
  drm run --coordinator HOST:PORT   on the machines of a coordinator (the same
                                    as --drm-coordinator)

--resume RUN goes on with a run that was killed or cut short, as it was started:
RUN is the folder of its record (reports/run) or its id. What had ended is not
run again.
"""
PLAN = """\
usage: drm plan [--dry-run] [PYTEST OPTIONS] [--drm-... OPTIONS] [FILES]

Say what "drm run" with the same arguments would do: collect the tests, predict
what they need, and play the run in virtual time. Printed are the worker types
that pay off and why the others do not, the first decisions with trigger,
inputs, alternatives and reason, the makespan and the cost. No test is run and
nothing is created.

  --dry-run   also ask the providers whether they would create each type (EC2:
              DryRun)
"""


def print_help(text: str) -> None:
    """Print what a command does, and the options."""
    print(text)
    print(_options(), end="")


def _options() -> str:
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False)
    add_options(parser.add_argument_group("options of DRM, which pytest takes with --drm").add_argument)
    return parser.format_help()
