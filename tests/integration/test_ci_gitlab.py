"""The GitLab template: its schema, and whole pipelines of it, run by gitlab-ci-local in a small project."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ci_sample
import pytest
import yaml

from drm.model.stages import COMPONENTS

TEMPLATE = ci_sample.ROOT / "ci_templates" / "drm_gitlab_ci.yml"
SLUGS = [component.slug for component in COMPONENTS]
OPTIONS = ("--shell-isolation", "--force-shell-executor", "--no-color", "--concurrency", "2")


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header with the inputs, and the jobs."""
    header, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return header, jobs


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that has run: exit code, what was printed, and the artifacts of the job drm_report."""

    code: int
    out: str
    folder: Path

    @property
    def report_job(self) -> Path:
        return self.folder / ".gitlab-ci-local" / "artifacts" / "drm_report"

    def ended(self, word: str) -> set[str]:
        """Return the jobs that gitlab-ci-local lists with PASS or FAIL at the end."""
        lines = (line.split(maxsplit=1) for line in self.out.splitlines() if line.strip())
        return {words[1].strip() for words in lines if words[0] == word and len(words) == 2}


def run_pipeline(tmp: Path, wheel: Path, *, failing: str = "", inputs: str = "") -> Pipeline:
    command = ci_sample.gitlab_ci_local()
    folder = ci_sample.make_sample(tmp / "sample", "gitlab", failing=failing, drm=wheel, extra=inputs)
    code, out = ci_sample.run([*command, *OPTIONS], folder, ci_sample.environment(), tmp / "pipeline.log")
    return Pipeline(code, out, folder)


def test_schema(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    text = TEMPLATE.read_text()
    head, _, body = text.partition("\n---\n")
    (tmp_path / "body.yml").write_text(body)
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(tmp_path / "body.yml")]
    done = subprocess.run([sys.executable, *check], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert yaml.safe_load(head)["spec"]["inputs"]["component"]["options"] == ["all", *SLUGS]


def test_rules_name_no_variable_of_the_matrix() -> None:
    """GitLab decides on rules before it makes the jobs of a matrix."""
    for name, job in documents()[1].items():
        assert not {"only", "except"} & set(job), name
        assert "COMPONENT" not in str(job.get("rules", "")), name


def test_every_input_is_optional_and_used() -> None:
    text = TEMPLATE.read_text()
    for name, entry in documents()[0]["spec"]["inputs"].items():
        assert "default" in entry, name
        assert f"$[[ inputs.{name} ]]" in text, name


@pytest.mark.ci_templates
@pytest.mark.drm(group="pipelines")
def test_passing_pipeline(tmp_path: Path, drm_wheel: Path) -> None:
    pipeline = run_pipeline(tmp_path, drm_wheel)
    assert pipeline.code == 0, pipeline.out
    jobs = {f"drm_unit: [{name}]" for name in ci_sample.COMPONENTS}
    jobs |= {"drm_integration", "drm_performance", "drm_e2e", "drm_distributed", "drm_report"}
    assert pipeline.ended("PASS") == jobs, pipeline.out
    assert pipeline.ended("FAIL") == set()
    report = ci_sample.read_json(pipeline.report_job / "reports/report.json")
    assert report["state"] == "passing", report["headline"]
    badge = ci_sample.read_json(pipeline.report_job / ".github/badges/drm_status.json")
    assert badge["message"] == "passing (7/7)"
    for name in ("junit.xml", "metrics.txt", "coverage.xml"):
        assert (pipeline.report_job / "reports/ci" / name).stat().st_size > 0, name
    assert 'filename="shop.py"' in (pipeline.report_job / "reports/ci/coverage.xml").read_text()


@pytest.mark.ci_templates
@pytest.mark.usefixtures("has_time")
@pytest.mark.drm(group="pipelines")
def test_failing_pipeline_of_one_component_without_e2e(tmp_path: Path, drm_wheel: Path) -> None:
    inputs = "    inputs:\n      component: api\n      run_e2e: false\n"
    pipeline = run_pipeline(tmp_path, drm_wheel, failing="performance", inputs=inputs)
    assert pipeline.code != 0, pipeline.out
    assert pipeline.ended("FAIL") == {"drm_performance"}, pipeline.out
    passed = {"drm_unit_component", "drm_integration", "drm_distributed", "drm_report"}
    assert pipeline.ended("PASS") == passed, pipeline.out
    left = {path.parent.name for path in (pipeline.report_job / "reports").glob("*/results.json")}
    assert left == {"unit-api", "integration", "performance", "distributed"}
    assert ci_sample.left_out(pipeline.report_job / "reports") == {"unit-store", "unit-other", "e2e"}
    report = ci_sample.read_json(pipeline.report_job / "reports/report.json")
    assert report["state"] == "failing", report["headline"]
    assert "test_it_breaks" in (pipeline.report_job / "reports/report.md").read_text()
    badge = ci_sample.read_json(pipeline.report_job / ".github/badges/drm_status.json")
    assert badge["message"] == "failing (3/4)"


@pytest.mark.ci_templates
def test_inputs_are_passed_on_as_the_docs_say(tmp_path: Path) -> None:
    command = ci_sample.gitlab_ci_local()
    folder = ci_sample.make_sample(tmp_path / "sample", "gitlab")
    docs = (ci_sample.ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    (folder / ".gitlab-ci.yml").write_text(docs.partition("```yaml\n")[2].partition("```")[0])
    asked = ["--input", "component=api", "--input", "run_e2e=false"]
    for options, unit, e2e in ([], "drm_unit: [api]", True), (asked, "drm_unit_component", False):
        listing = [*command, "--list", "--force-shell-executor", "--no-color", *options]
        code, out = ci_sample.run(listing, folder, ci_sample.environment(), tmp_path / "list.log")
        assert code == 0, out
        assert unit in out
        assert ("drm_e2e  " in out) == e2e, out
