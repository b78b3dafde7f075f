"""The CI templates are rendered from the table of stages and components, and call nothing but nox."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from drm.cicd_integration.rendering import PROVIDERS, Provider, render
from drm.model.stages import COMPONENTS, STAGES

TEMPLATES = Path(__file__).resolve().parents[2] / "ci_templates"
SLUGS = [component.slug for component in COMPONENTS]
NAMES = {stage.name for stage in STAGES}
BY_COMPONENT = [stage.name for stage in STAGES if stage.by_component]
UTILITIES = {"lint", "types", "report", "badges", "status"}
GITHUB_UTILITIES = {*UTILITIES, "publish"}
TELLS = {"contents": "read", "statuses": "write", "pull-requests": "write"}
PERMISSIONS = {"gate": {}, "publish": {"contents": "write"}, "tell": TELLS}


def github() -> dict[str, Any]:
    return yaml.safe_load((TEMPLATES / "drm_github_workflow.yml").read_text())


def gitlab() -> dict[str, Any]:
    """Return the jobs; before them come the inputs, in a document of their own."""
    return list(yaml.safe_load_all((TEMPLATES / "drm_gitlab_ci.yml").read_text()))[1]


def jenkinsfile() -> str:
    return (TEMPLATES / "drm_jenkinsfile").read_text()


def sessions_of(command: str) -> list[str]:
    """Return the sessions that a nox command names."""
    found = re.search(r"nox -s (.*?)(?: --|$)", command.strip())
    assert found, f"{command!r} is no call of nox"
    return found.group(1).split()


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.name)
def test_template_is_what_the_table_makes_of_it(provider: Provider) -> None:
    assert (TEMPLATES / provider.shipped).read_text() == render(provider.name), "run `drm ci render`"


def test_github_runs_every_stage_once() -> None:
    called: list[str] = []
    for job in (job for name, job in github()["jobs"].items() if name != "tell"):  # it tells what `status` found
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            if "nox" in step.get("run", ""):
                for session in sessions_of(step["run"]):
                    name = session.strip('"$').lower()
                    called += matrix.get(name, [name])
    assert sorted(called) == sorted(NAMES | GITHUB_UTILITIES)


def test_github_splits_unit_over_the_components() -> None:
    jobs = github()["jobs"]
    split = [name for name, job in jobs.items() if "component" in job.get("strategy", {}).get("matrix", {})]
    assert split == BY_COMPONENT
    for name in split:
        chosen = jobs[name]["strategy"]["matrix"]["component"]
        assert json.dumps(SLUGS) in chosen
        assert "inputs.component" in chosen


def test_github_keeps_the_order_of_the_table() -> None:
    jobs = github()["jobs"]
    assert {stage.name: set(stage.after) for stage in STAGES} == {
        stage.name: set(jobs[stage.name].get("needs", [])) for stage in STAGES
    }


def test_github_is_locked_down() -> None:
    workflow = github()
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 30, name
        assert job["permissions"] == PERMISSIONS.get(name, {"contents": "read"}), name
        assert job.get("strategy", {}).get("fail-fast", False) is False, name
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{name}: an expression in a script"
            if "uses" in step:
                assert re.search(r"@[0-9a-f]{40}$", step["uses"]), f"{step['uses']} is not pinned by commit"
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_github_cancels_only_what_a_pull_request_no_longer_needs_and_filters_no_path() -> None:
    workflow = github()
    assert workflow["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    triggers = workflow[True]  # YAML 1.1 takes the word on for a truth value
    assert triggers["push"] == {"branches": ["main"]}
    assert triggers["pull_request"] is None, "a required check with a filter of paths would never end"


def test_github_hands_on_hidden_files_under_names_of_their_own() -> None:
    steps = [step for job in github()["jobs"].values() for step in job["steps"]]
    uploads = [step["with"] for step in steps if "upload-artifact" in step.get("uses", "")]
    names = [upload["name"] for upload in uploads]
    assert len(set(names)) == len(names) == len(STAGES) + 1
    assert all(("matrix.component" in name) == (name.split("-")[1] in BY_COMPONENT) for name in names)
    assert all(upload["include-hidden-files"] for upload in uploads), "coverage data is hidden"
    merged = [step["with"] for step in steps if step.get("with", {}).get("merge-multiple")]
    assert [with_["pattern"] for with_ in merged] == ["stage-*"]


def test_github_gives_each_stage_its_own_past_and_keeps_what_it_adds() -> None:
    for name in (stage.name for stage in STAGES):
        steps = github()["jobs"][name]["steps"]
        (restore,) = (step["with"] for step in steps if "cache/restore" in step.get("uses", ""))
        (save,) = (step for step in steps if "cache/save" in step.get("uses", ""))
        assert save["if"] == "always()", "what a failed run has seen counts too"
        assert save["with"]["key"] == restore["key"], name
        assert restore["key"].startswith(restore["restore-keys"]), "or the newest of this stage"
        assert "github.run_id" in restore["key"], "a cache is never written over"
        assert ("matrix.component" in restore["restore-keys"]) == (name in BY_COMPONENT)
        assert restore["restore-keys"].startswith(f"drm-history-{name}-")


def test_github_publishes_badges_only_of_a_push_to_the_default_branch() -> None:
    condition = github()["jobs"]["publish"]["if"]
    for part in ("github.event_name == 'push'", "github.ref_name == github.event.repository.default_branch"):
        assert f"&& {part}" in condition
    failed_too = """contains(fromJSON('["success", "failure"]'), needs.report.result)"""
    assert failed_too in condition, "a badge that says that a record is damaged is pushed too"


def test_github_reports_whatever_happened() -> None:
    job = github()["jobs"]["report"]
    assert job["if"] == "always()"
    assert set(job["needs"]) == NAMES


def test_github_tells_only_where_it_is_asked_to_and_trusts_no_fork() -> None:
    job = github()["jobs"]["tell"]
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert job["if"] == (f"always() && vars.DRM_PUBLISH == 'true' && (github.event_name != 'pull_request' || {own})")
    assert [name for name, job in github()["jobs"].items() if "GITHUB_TOKEN" in str(job)] == ["publish", "tell"]


def test_github_gives_a_pull_request_no_secret() -> None:
    workflow, text = github(), (TEMPLATES / "drm_github_workflow.yml").read_text()
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch"}  # YAML 1.1: the word is a truth value
    assert "secrets." not in text


def test_github_restores_of_other_runs_only_the_history_and_only_where_no_token_may_write() -> None:
    jobs = github()["jobs"]
    steps = [(name, step) for name, job in jobs.items() for step in job["steps"] if "uses" in step]
    caches = [(name, step["with"]["path"]) for name, step in steps if step["uses"].startswith("actions/cache/")]
    assert {path for _, path in caches} == {".drm/history.db"}
    assert {name for name, _ in caches} == NAMES
    assert all(jobs[name]["permissions"] == {"contents": "read"} for name in NAMES)
    downloads = [step["with"] for _, step in steps if "download-artifact" in step["uses"]]
    assert all(set(given) <= {"name", "pattern", "path", "merge-multiple"} for given in downloads), "of this run alone"
    known = ("actions/cache/", "actions/checkout@", "actions/upload-artifact@", "actions/download-artifact@")
    assert all(step["uses"].startswith((*known, "astral-sh/setup-uv@")) for _, step in steps)


def test_jenkins_gives_its_credential_to_the_primary_branch_only() -> None:
    text = jenkinsfile()
    assert text.count("withCredentials") == text.count("credentialsId") == 1
    condition, _, given = text.partition("withCredentials")
    assert condition.rstrip().endswith("if (env.BRANCH_IS_PRIMARY == 'true' && env.DRM_BADGES_CREDENTIAL) {")
    assert "nox -s publish" in given


def test_gitlab_names_its_tokens_in_the_last_jobs_only() -> None:
    assert [name for name, job in gitlab().items() if "TOKEN" in json.dumps(job)] == ["drm_report", "drm_publish"]
    (rule,) = gitlab()["drm_publish"]["rules"]
    own = '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'
    assert rule == {"if": f"$DRM_BADGES_TOKEN && {own}", "when": "always"}
    assert gitlab()["drm_publish"]["needs"] == [{"job": "drm_report"}], "whose artifacts are the badges"
    caches = {job["cache"]["key"] for job in gitlab().values() if "cache" in job}
    assert caches == {"drm-history-$CI_JOB_NAME_SLUG"}
    assert gitlab()[".drm_stage"]["cache"]["paths"] == [".drm/history.db"]


def test_what_a_pipeline_is_asked_to_leave_out_is_told_to_the_report() -> None:
    names = {f"DRM_RUN_{stage.name.upper()}" for stage in STAGES if stage.optional} | {"DRM_COMPONENT"}
    (step,) = (step for step in github()["jobs"]["report"]["steps"] if "nox -s report" in step.get("run", ""))
    assert set(step["env"]) == names
    told = re.findall(r"export (\w+)=", " ".join(gitlab()["drm_report"]["script"]))
    assert {*gitlab()["drm_report"]["variables"], *told} == names
    assert set(re.findall(r'"(DRM_\w+)=\$', jenkinsfile())) == names


def test_github_gate_waits_for_every_check() -> None:
    jobs = github()["jobs"]
    assert jobs["gate"]["if"] == "always()"
    assert set(jobs["gate"]["needs"]) == {*NAMES, "checks", "report"}


def test_github_stage_that_is_optional_can_be_left_out() -> None:
    workflow = github()
    inputs = workflow[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 takes the word on for a truth value
    for stage in STAGES:
        name = f"run_{stage.name}"
        assert (name in inputs) == stage.optional
        assert (name in workflow["jobs"][stage.name].get("if", "")) == stage.optional


def test_gitlab_runs_every_stage_once() -> None:
    jobs = {name: job for name, job in gitlab().items() if "script" in job}
    lines = [line for job in jobs.values() for line in job["script"] if not line.startswith("export ")]
    called = [session for line in lines for session in sessions_of(line)]
    assert sorted(called) == sorted(
        [*NAMES, *UTILITIES, "publish", *BY_COMPONENT]
    )  # in either of two jobs: all, or one of them


def test_gitlab_has_rules_keeps_what_failed_and_lets_a_newer_pipeline_end_it() -> None:
    jobs = gitlab()
    assert jobs[".drm_session"]["interruptible"] is True
    assert jobs[".drm_stage"]["artifacts"]["when"] == "always"
    assert jobs[".drm_stage"]["artifacts"]["reports"] == {"junit": "reports/*/junit.xml"}
    assert set(jobs["drm_report"]["artifacts"]["reports"]) == {"coverage_report", "metrics"}
    for name, job in jobs.items():
        assert not {"only", "except"} & set(job), name
        assert name == ".drm_session" or job["extends"] in (".drm_session", ".drm_stage")


def test_gitlab_splits_unit_over_the_components() -> None:
    jobs = gitlab()
    split = [sessions_of(job["script"][0]) for job in jobs.values() if "parallel" in job]
    assert split == [BY_COMPONENT]
    assert jobs["drm_unit"]["parallel"]["matrix"] == [{"COMPONENT": SLUGS}]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_gitlab_keeps_the_order_of_the_table(stage: Any) -> None:
    jobs = gitlab()
    needed = {
        session
        for need in jobs[f"drm_{stage.name}"]["needs"]
        for session in sessions_of(jobs[need["job"]]["script"][0])
    }
    assert needed == set(stage.after)


def test_gitlab_reports_whatever_happened() -> None:
    jobs = gitlab()
    assert all(rule["when"] == "always" for rule in jobs["drm_report"]["rules"])
    assert {need["job"] for need in jobs["drm_report"]["needs"]} == {
        name for name, job in jobs.items() if job.get("extends") == ".drm_stage"
    }
    assert jobs[".drm_stage"]["artifacts"]["when"] == "always"


def test_gitlab_passes_no_results_on_but_to_the_report() -> None:
    """A job that had those of others would upload them as its own: their tests would be counted twice."""
    for name, job in gitlab().items():
        if name not in ("drm_report", "drm_publish"):  # the latter uploads none
            assert all(need["artifacts"] is False for need in job.get("needs", [])), name


def test_jenkins_runs_every_stage_once() -> None:
    called = re.findall(r"bin/nox -s ((?:\w+ ?)+)(?:-- (\w+))?$", jenkinsfile(), re.MULTILINE)
    sessions = [(name, slug) for names, slug in called for name in names.split()]
    units = [(name, slug) for name in BY_COMPONENT for slug in SLUGS]
    others = [(name, "") for name in (NAMES | UTILITIES) - set(BY_COMPONENT)]
    assert sorted(sessions) == sorted(units + others)


def test_jenkins_collects_the_results_of_every_stage() -> None:
    block = re.search(r"for \(name in \[(.*?)\]", jenkinsfile(), re.DOTALL)
    assert block is not None
    expected = [f"{stage.name}-{slug}" for stage in STAGES if stage.by_component for slug in SLUGS]
    expected += [stage.name for stage in STAGES if not stage.by_component]
    assert re.findall(r"'([\w-]+)'", block.group(1)) == expected
    assert re.findall(r"name: '([\w-]+)',\n +includes", jenkinsfile()) == expected
    assert re.findall(r"junit testResults: 'reports/([\w-]+)/junit.xml'", jenkinsfile()) == expected
