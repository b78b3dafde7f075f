"""The CI files that DRM gives a project, made from the one table of stages.

A template is jinja2 with delimiters that none of the three languages uses: ``[= value =]``, ``[% for %]`` and
``[# comment #]``. So ``${{ }}`` of GitHub, ``$[[ ]]`` of GitLab and the braces of Groovy stay what they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from drm.cicd_integration.project import REQUIREMENT, Project
from drm.model.errors import ConfigError
from drm.model.stages import COMPONENTS, STAGES, Stage

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["NOXFILE_MARK", "OWN", "PROVIDERS", "Pipeline", "Provider", "render", "render_noxfile"]

NOXFILE_MARK = "Written by `drm ci init`"  # by which a noxfile is known to be ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A CI system. ``shipped``: the file in ``ci_templates/``; ``target``: where a project has it."""

    name: str
    title: str
    template: str
    shipped: str
    target: str


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            name="github",
            title="GitHub Actions",
            template="github.yml.j2",
            shipped="drm_github_workflow.yml",
            target=".github/workflows/drm_tests.yml",
        ),
        Provider(
            name="gitlab",
            title="GitLab CI",
            template="gitlab.yml.j2",
            shipped="drm_gitlab_ci.yml",
            target="ci_templates/drm_gitlab_ci.yml",
        ),
        Provider(
            name="jenkins",
            title="Jenkins",
            template="jenkinsfile.j2",
            shipped="drm_jenkinsfile",
            target="Jenkinsfile",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What a CI file is rendered from.

    ``components``: what the stages ``by_component`` are split over; with fewer than two they are not split.
    ``checks``: nox sessions without a report, run beside the stages.
    ``branch``: the default branch; ``python``: the version that a job runs.
    """

    components: tuple[str, ...]
    stages: tuple[Stage, ...] = STAGES
    checks: tuple[str, ...] = ()
    branch: str = "main"
    python: str = "3.13"

    @property
    def optional(self) -> tuple[Stage, ...]:
        """The stages that a pipeline started by hand may leave out."""
        return tuple(stage for stage in self.stages if stage.optional)

    @property
    def results(self) -> tuple[str, ...]:
        """The folders under ``reports/`` that the jobs leave, in the order of the table."""
        return tuple(name for stage in self.stages for name in self.results_of(stage))

    def results_of(self, stage: Stage) -> tuple[str, ...]:
        """Return the folders under ``reports/`` that the jobs of a stage leave."""
        return tuple(f"{stage.name}-{slug}" for slug in self.components) if self.split(stage) else (stage.name,)

    @property
    def waves(self) -> tuple[tuple[Stage, ...], ...]:
        """The stages in groups, for a CI system that runs groups one after the other: each after all its ``after``."""
        depths: dict[str, int] = {}
        for stage in self.stages:  # in the table a stage comes after those it waits for
            depths[stage.name] = 1 + max((depths[name] for name in stage.after if name in depths), default=0)
        return tuple(
            tuple(stage for stage in self.stages if depths[stage.name] == depth)
            for depth in sorted(set(depths.values()))
        )

    def split(self, stage: Stage) -> bool:
        """Tell whether the stage has a job for each component."""
        return stage.by_component and len(self.components) > 1


# This project's own.
OWN = Pipeline(
    components=tuple(component.slug for component in COMPONENTS),
    checks=("lint", "types"),
)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - what is rendered is YAML, Groovy and Python, not HTML
        loader=PackageLoader("drm.cicd_integration"),
        variable_start_string="[=",
        variable_end_string="=]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["literal"] = partial(json.dumps, ensure_ascii=False)  # of strings and lists: Python's too
    return environment


def render(provider: str, pipeline: Pipeline = OWN) -> str:
    """Return the CI file of a provider (``github``, ``gitlab`` or ``jenkins``). ConfigError for any other."""
    if provider not in PROVIDERS:
        raise ConfigError(f"{provider!r} is no CI system known here", remedy=f"choose from {', '.join(PROVIDERS)}")
    return _environment().get_template(PROVIDERS[provider].template).render(pipeline=pipeline)


def render_noxfile(project: Project, *, requirement: str = REQUIREMENT) -> str:
    """Return the noxfile of a project that has none; ``requirement``: how pip names DRM there."""
    template = _environment().get_template("noxfile.py.j2")
    return template.render(project=project, requirement=requirement, mark=NOXFILE_MARK)
