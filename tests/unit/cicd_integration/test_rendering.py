"""CI files are rendered from the table: any project's components, split only where there are several."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.rendering import OWN, PROVIDERS, Pipeline, render
from drm.model.errors import ConfigError
from drm.model.stages import STAGES

# The parser in C, where PyYAML has it: the same language, ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SLUGS = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), unique=True, max_size=6).map(tuple)


@given(components=SLUGS)
def test_every_component_has_results_of_its_own_and_no_two_the_same(components: tuple[str, ...]) -> None:
    pipeline = Pipeline(components=components)
    assert len(set(pipeline.results)) == len(pipeline.results)
    split = [stage for stage in STAGES if pipeline.split(stage)]
    assert len(pipeline.results) == len(STAGES) + len(split) * (len(components) - 1)


@given(components=SLUGS)
def test_github_is_yaml_whatever_the_components(components: tuple[str, ...]) -> None:
    workflow = yaml.load(render("github", Pipeline(components=components)), Loader=LOADER)
    assert ("matrix" in workflow["jobs"]["unit"].get("strategy", {})) == (len(components) > 1)
    assert list(workflow["jobs"]) == [*(stage.name for stage in STAGES), "report", "publish", "tell", "gate"]


@given(components=SLUGS)
def test_gitlab_is_yaml_whatever_the_components(components: tuple[str, ...]) -> None:
    header, jobs = yaml.load_all(render("gitlab", Pipeline(components=components)), Loader=LOADER)
    split = len(components) > 1
    assert ("component" in header["spec"]["inputs"]) == split
    assert ("drm_unit_component" in jobs) == split
    if split:
        assert jobs["drm_unit"]["parallel"]["matrix"] == [{"COMPONENT": list(components)}]
        assert header["spec"]["inputs"]["component"]["options"] == ["all", *components]


def test_waves_come_after_what_they_wait_for() -> None:
    assert [[stage.name for stage in wave] for wave in OWN.waves] == [
        ["unit"],
        ["integration", "performance"],
        ["e2e", "distributed"],
    ]
    assert [stage for wave in OWN.waves for stage in wave] == list(STAGES)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_of_the_template_is_left(provider: str) -> None:
    text = render(provider)
    for delimiter in ("[=", "=]", "[%", "%]", "[#", "#]"):
        assert delimiter not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_stage_may_be_gone_from_the_table() -> None:
    stages = tuple(stage for stage in STAGES if stage.name != "distributed")
    for provider in PROVIDERS:
        assert "distributed" not in render(provider, Pipeline(components=OWN.components, stages=stages))


def test_another_system_is_named_in_a_line() -> None:
    with pytest.raises(ConfigError, match="'travis' is no CI system known here; choose from github, gitlab, jenkins"):
        render("travis")
