"""A shell completes commands, options and pytest's options: asked for as bash asks, by argcomplete's own function."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What bash does when Tab is pressed: it sets these variables and calls the function that is registered.
_PRESS_TAB = """
eval "$(register-python-argcomplete drm)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMPREPLY=()
read -ra COMP_WORDS <<< "$1"
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_python_argcomplete drm
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("drm re", {"report", "reap"}),
        ("drm report --o", {"--output-dir", "--open"}),
        ("drm ci st", {"status"}),
        ("drm ci status --publish-", {"--publish-only"}),
        ("drm run --drm-exec", {"--drm-executors"}),
        ("drm nothing --x", set()),
    ],
)
def test_what_is_offered(typed: str, offered: set[str]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", _PRESS_TAB, "bash", typed],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert {line.strip() for line in done.stdout.splitlines() if line.strip()} == offered, done.stderr
