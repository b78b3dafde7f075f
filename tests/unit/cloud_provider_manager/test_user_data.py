"""The script a machine boots with."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager.providers.user_data import LIMIT_BYTES, user_data
from drm.model.errors import ConfigError

# What a process can be given: no NUL, and nothing that is no text.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(words=st.lists(WORDS, min_size=1, max_size=4), value=WORDS)
def test_bash_reads_back_every_word_and_value(words: list[str], value: str) -> None:
    script = user_data(["printf", "%s\\0", *words, "$0"], [("DRM_X", value)], lease_s=60)
    shell = "shutdown() { :; }\n" + script + 'printf "%s" "$DRM_X"'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{word}\0" for word in [*words, "$0"]) + value


def test_the_lease_comes_first_and_the_end_always() -> None:
    script = user_data(["false"], [], lease_s=1, bootstrap="exit 3")
    shell = 'shutdown() { echo "$@"; }\n' + script
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout == "-P +1\n-P now\n"


def test_a_bootstrap_that_fails_starts_no_worker() -> None:
    script = user_data(["echo", "worker"], [], lease_s=1, bootstrap="false")
    done = subprocess.run(["bash", "-c", "shutdown() { :; }\n" + script], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_the_limit_is_exact() -> None:
    room = LIMIT_BYTES - len(user_data(["x"], [], lease_s=60, bootstrap="#").encode())
    assert len(user_data(["x"], [], lease_s=60, bootstrap="#" + "é" * (room // 2)).encode()) >= LIMIT_BYTES - 1
    with pytest.raises(ConfigError, match="of at most 16,384"):
        user_data(["x"], [], lease_s=60, bootstrap="#" + "é" * (room // 2 + 1))


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "api_key", "apikey"])
def test_a_secret_by_its_name_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        user_data(["x"], [(name, "canary")], lease_s=60)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "A B", "A=B", "x;reboot", "1A", "A\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        user_data(["x"], [(name, "")], lease_s=60)
