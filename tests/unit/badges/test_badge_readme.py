from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from recorded import leave_all

from drm._badges.readme import default_branch, folder_in_repository, markdown_lines, raw_files
from drm._badges.rendering import Badge
from drm.cicd_integration.context import Context, detect
from drm.github_badge_generator import main
from drm.reporting.report import State

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "me/mine", "GITHUB_API_URL": "https://api.github.com"}
ENTERPRISE = GITHUB | {"GITHUB_API_URL": "https://git.example/api/v3"}
GITLAB = {"GITLAB_CI": "true", "CI_PROJECT_PATH": "a/b/c", "CI_API_V4_URL": "https://gitlab.example/api/v4"}


def line_of(label: str = "DRM", name: str = "drm_status", **place: str) -> str:
    badge = Badge(name=name, label=label, message="passing", state=State.PASSING)
    (line,) = markdown_lines([badge], **{"repository": "me/mine", "branch": "main", "folder": ".github/badges"} | place)
    return line


def address_of(line: str) -> str:
    """Return what shields asks for, as shields reads it."""
    assert line.count("](") == 1
    return parse_qs(urlsplit(line.partition("](")[2].removesuffix(")")).query)["url"][0]


def test_line_is_the_one_that_readmes_have() -> None:
    assert line_of("DRM Tests") == (
        "![DRM Tests](https://img.shields.io/endpoint?url="
        "https://raw.githubusercontent.com/me/mine/main/.github/badges/drm_status.json)"
    )


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        (GITHUB, "https://raw.githubusercontent.com/o/r/main/b/x.json"),
        (ENTERPRISE, "https://git.example/o/r/raw/main/b/x.json"),
        (GITLAB, "https://gitlab.example/o/r/-/raw/main/b/x.json"),
        ({}, "https://raw.githubusercontent.com/o/r/main/b/x.json"),
    ],
)
def test_address_is_the_providers(environ: dict[str, str], place: str) -> None:
    line = line_of(name="x", repository="o/r", folder="b", raw=raw_files(detect(environ)))
    assert address_of(line) == place


@pytest.mark.parametrize("branch", ["a&b=c#d?e", "with space", "100%25", "x)![y](z", "<script>", "a\nb", "\udcff", "é"])
def test_no_branch_folder_or_name_gets_out_of_the_address(branch: str) -> None:
    line = line_of(branch=branch, folder=branch, name=branch)
    assert line.isprintable()
    assert not set(" <>\n\"'()[]`\\") & set(line.removeprefix("![DRM](").removesuffix(")"))
    parts = urlsplit(address_of(line))
    assert (parts.hostname, parts.query, parts.fragment) == ("raw.githubusercontent.com", "", "")
    shown = branch.replace("\udcff", "?")
    assert unquote(parts.path) == f"/me/mine/{shown}/{shown}/{shown}.json"


@pytest.mark.parametrize("label", ["a](http://evil)", "<img src=x>", "a\n# b", "`x`", "@all", "\\"])
def test_no_label_becomes_markup(label: str) -> None:
    line = line_of(label)
    assert line.endswith("](https://img.shields.io/endpoint?url=" + line.partition("?url=")[2])
    assert "\n" not in line
    assert "<" not in line
    assert line.replace("\\\\", "").replace("\\]", "").count("](") == 1


@pytest.mark.parametrize(
    ("context", "branch"),
    [
        (Context(provider="github", default_branch="trunk", branch="feature"), "trunk"),
        (Context(provider="jenkins", branch="trunk"), "trunk"),
        (Context(provider="github", branch="feature", target_branch="trunk", is_pr=True), "trunk"),
        (Context(provider="generic", branch="feature"), "main"),  # what is checked out on a laptop says nothing
        (Context(provider="github"), "main"),
    ],
)
def test_branch_is_the_default_one_as_far_as_it_is_known(context: Context, branch: str) -> None:
    assert default_branch(context) == branch


def test_folder_is_seen_from_the_repository(tmp_path: Path) -> None:
    assert folder_in_repository(Path(".github/badges"), tmp_path) == ".github/badges"
    assert folder_in_repository(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert folder_in_repository(tmp_path, tmp_path) == ""
    assert folder_in_repository(Path("../a"), tmp_path) == "../a"


def test_command_line_asks_the_ci_system_and_lets_options_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leave_all(tmp_path / "reports")
    context = detect(GITLAB | {"CI_DEFAULT_BRANCH": "trunk"})
    assert main(["--markdown", "--output", "b/x.svg"], context=context) == 0
    out, err = capsys.readouterr()
    assert address_of(out.splitlines()[-1]) == "https://gitlab.example/a/b/c/-/raw/trunk/b/x.json"
    assert err == ""
    options = ["--repository", "o/r", "--branch", "badges", "--path", ""]
    assert main(["--markdown", "--no-component-badges", *options], context=context) == 0
    lines = capsys.readouterr().out.splitlines()
    assert address_of(lines[-1]) == "https://gitlab.example/o/r/-/raw/badges/drm_status.json"
    assert main(["--markdown"], context=Context(provider="generic")) == 0
    out, err = capsys.readouterr()
    assert address_of(out.splitlines()[-1]).startswith("https://raw.githubusercontent.com/username/repo/main/.github/")
    assert err == (
        "drm: the repository is not known, so the lines say username/repo; use --repository owner/name\n"
        "drm: no lines for those that say nothing yet: DRM integration, Coverage, Performance\n"
    )
