"""The one table of stages and components.

Plain standard library, no import from ``drm``: ``noxfile.py`` loads this file by
its path (drm is not installed where nox runs), and reports, badges and the CI
templates are made from the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMPONENTS", "INTEGRATION", "STAGES", "Component", "Stage", "component_of", "stage_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of the system: ``slug`` is its folder, test folder, CI matrix value, report row and badge."""

    slug: str
    title: str
    class_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage = one nox session with its own virtualenv.

    ``paths``: what pytest runs. ``extras``: of the distribution, installed for it.
    ``options``: given to ``drm run``. ``shares_machine``: may run beside another session. ``is_traced``: coverage is
    measured; not where time is, nor where that would slow many processes to show no further line.
    ``after``: stages that CI runs first. ``by_component``: CI splits it over the components.
    ``timeout_min``: minutes after which CI ends a job of it. ``optional``: a pipeline started by hand
    may leave it out (input ``run_<name>``). ``can_be_quick``: its tests take ``--quick``.
    """

    name: str
    summary: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    extras: tuple[str, ...] = ("test",)
    shares_machine: bool = True
    is_traced: bool = False
    by_component: bool = False
    after: tuple[str, ...] = ()
    timeout_min: int = 30
    optional: bool = False
    can_be_quick: bool = False


INTEGRATION = Component(slug="drm_integration", title="DRM integration")

COMPONENTS: tuple[Component, ...] = (
    Component(slug="dynamic_resource_manager", title="Dynamic Resource Manager", class_name="DynamicResourceManager"),
    Component(
        slug="resource_performance_predictor",
        title="Resource Performance Predictor",
        class_name="ResourcePerformancePredictor",
    ),
    Component(slug="cloud_provider_manager", title="Cloud Provider Manager", class_name="CloudProviderManager"),
    Component(slug="resource_optimizer", title="Resource Optimizer", class_name="ResourceOptimizer"),
    INTEGRATION,
)

STAGES: tuple[Stage, ...] = (
    Stage(
        name="unit",
        summary="each component in isolation",
        paths=("tests/unit",),
        is_traced=True,
        by_component=True,
        timeout_min=20,
    ),
    Stage(
        name="integration",
        summary="the components together: plugin, coordinator, engine, history, reports",
        paths=("tests/integration",),
        is_traced=True,
        extras=("test", "ecosystem", "templates"),
        after=("unit",),
    ),
    Stage(
        name="performance",
        summary="pytest-benchmark on the optimizer, against stored baselines",
        paths=("benchmarks",),
        options=("--drm-executors", "0"),
        extras=("test", "bench"),
        shares_machine=False,
        after=("unit",),
        can_be_quick=True,
    ),
    Stage(
        name="e2e",
        summary="coordinator, workers of three kinds, scaling and recovery, with real processes",
        paths=("tests/e2e",),
        options=("--drm-executors", "0"),
        extras=("test", "browser", "ray"),
        after=("integration",),
        optional=True,
        can_be_quick=True,
    ),
    Stage(
        name="distributed",
        summary="DRM runs its own unit and integration tests on a Ray cluster; outcomes equal a serial run's",
        paths=("tests/distributed",),
        options=("--drm-executors", "0"),
        extras=("test", "ray"),
        after=("integration",),
        can_be_quick=True,
    ),
)


def stage_named(name: str) -> Stage | None:
    """Return the stage of that name, or None."""
    return next((stage for stage in STAGES if stage.name == name), None)


def component_of(task_id: str) -> str:
    """Return the slug of the component a test belongs to: the one its path names, else ``drm_integration``."""
    path = task_id.partition("::")[0]
    return next((component.slug for component in COMPONENTS if component.slug in path), INTEGRATION.slug)
