"""The real coordinator, manager, optimizer and predictor, wired to a scripted engine and provider in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from drm import __version__
from drm.cloud_provider_manager import CloudProviderManager
from drm.coordinator import Coordinator, Parts, Recorder, RunSettings
from drm.coordinator.pool import WorkerPool
from drm.dynamic_resource_manager import DynamicResourceManager
from drm.model import events
from drm.model.cluster import WorkerView
from drm.model.errors import CapacityError, LostError
from drm.model.resources import Resources, total
from drm.model.work import Forecast
from drm.ports import EventSink
from drm.reporting.ndjson import NdjsonSink
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_optimizer.classes import group_tasks
from drm.resource_optimizer.units import lower_bound_s, make_pools
from drm.resource_performance_predictor import ResourcePerformancePredictor
from drm.simulator.acts import VirtualClock
from drm.simulator.engine import SimulatedEngine
from drm.simulator.faults import Happenings
from drm.simulator.provider import SimulatedProvider
from drm.simulator.scenario import Scenario
from drm.simulator.surface import QuietSurface
from drm.simulator.tally import Result, Tally, cost_bound_usd, result_of
from drm.simulator.workload import Workload, workload_of

__all__ = ["Simulation", "simulate"]

_SAMPLES = 100  # of each worker, if it is there all the time
_MOST_STARTED_S = 300.0


def simulate(scenario: Scenario, *, record: Path | None = None) -> Result:
    """Run the scenario; write ``record`` (events.ndjson) where one is wanted.

    ConfigError for a workload that cannot be had. A run that is given up (no worker starts) is a result with a
    ``problem``. The same scenario gives the same result and the same bytes.
    """
    return Simulation(scenario, record=record).run()


class Simulation:
    """One wired run. Its parts are open to benchmarks and tests.

    ``providers``: makes the provider manager for the engine, in the place of one that always has what the scenario
    says. ``clock``: goes on from where it is. ``sinks``: are given the events, too.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        record: Path | None = None,
        workload: Workload | None = None,
        providers: Callable[[SimulatedEngine], CloudProviderManager] | None = None,
        clock: VirtualClock | None = None,
        sinks: Sequence[EventSink] = (),
    ) -> None:
        self.scenario = scenario
        self.workload = workload or workload_of(scenario)
        self.places = planned_workers(scenario)
        self.bound_s = _bound_s(scenario, self.workload, self.places)
        self.tally = Tally()
        self.surface = QuietSurface()
        clock = clock or VirtualClock()
        self._happenings = happenings = Happenings(scenario, self.workload.acts)
        self.engine = SimulatedEngine(
            clock,
            happenings.attempt,
            executor_start_s=scenario.executor_start_s,
            sample_s=scenario.sample_s or max(1.0, self.bound_s / _SAMPLES),
        )
        all_sinks = [self.tally, *sinks, *([NdjsonSink(record)] if record is not None else [])]
        self.recorder = Recorder(clock, all_sinks, self.surface.say)
        self.settings = _settings(scenario)
        self.predictor = ResourcePerformancePredictor()
        self.manager = DynamicResourceManager(scenario.policies.scaling)
        optimizer = ResourceOptimizer(self.predictor, counted=scenario.counted)
        self.providers = (providers or self._providers)(self.engine)
        pool = WorkerPool(
            settings=self.settings,
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=optimizer,
            providers=self.providers,
            recorder=self.recorder,
            say=self.surface.say,
        )
        parts = Parts(
            clock=clock,
            engine=self.engine,
            manager=self.manager,
            optimizer=optimizer,
            predictor=self.predictor,
            pool=pool,
            recorder=self.recorder,
            surface=self.surface,
        )
        self.coordinator = Coordinator(parts, self.settings, largest=_largest(self.places))

    def _providers(self, engine: SimulatedEngine) -> CloudProviderManager:
        providers = CloudProviderManager(clock=engine.clock)
        limits = {spec.worker_type.name: spec.limit for spec in self.scenario.workers if spec.limit is not None}
        types = self.scenario.worker_types
        providers.add_provider(SimulatedProvider(engine, types, machine=self._happenings.machine, limits=limits))
        return providers

    def run(self) -> Result:
        """Run to the end, whatever happens on the way."""
        self.prepare()
        problem = ""
        try:
            self.submit_all()
        except (LostError, CapacityError) as error:
            problem = str(error)
        finally:
            self.coordinator.close()
        acts = self.workload.acts
        return result_of(
            self.tally,
            name=self.scenario.name,
            seed=self.scenario.seed,
            tests=len(self.workload.tasks),
            true_s=sum(act.seconds for act in acts.values()),
            bound_s=self.bound_s,
            cost_bound=cost_bound_usd(self.workload.tasks, acts, self.scenario.worker_types),
            problem=problem,
            said=self.surface.said,
        )

    def prepare(self) -> None:
        """Record the start, and let the predictor learn what is known."""
        self._started()
        for samples in self.workload.samples():
            self.predictor.train_models(samples)

    def submit_all(self) -> None:
        """Submit the tests as they arrive; return when all have ended."""
        for at_s, tasks in self.workload.groups():
            while self.engine.clock.now() < at_s and not self.coordinator.stop_reason:
                self.coordinator.step(until_s=at_s)
            if self.workload.arrivals:
                self.tally.arrived(self.engine.clock.now(), tasks)
            self.coordinator.submit(tasks, self.places)
        self.coordinator.run()

    def _started(self) -> None:
        whole = total(place.capacity for place in self.places)
        self.recorder.record(
            events.RunStarted,
            run_id=self.settings.run_id,
            format_version=events.FORMAT_VERSION,
            command=("drm", "simulate", self.scenario.name),
            rootdir=".",
            drm_version=__version__,
            python="simulated",
            platform="simulated",
            machine="simulated",
            cpu_cores=whole.cpu_cores,
            memory_bytes=whole.memory_bytes,
        )


def _settings(scenario: Scenario) -> RunSettings:
    return RunSettings(
        run_id=f"simulated-{scenario.seed}",
        executors=(0, 0),  # as many as a worker has cores
        workers=scenario.pool,
        type_workers=scenario.type_workers,
        worker_types=scenario.worker_types,
        start_s=max(_MOST_STARTED_S, 2 * max(spec.start_s * (1 + spec.jitter) for spec in scenario.workers)),
        retries=scenario.policies.retries,
        timeout_factor=scenario.policies.timeout_factor,
        speculate=scenario.policies.speculate,
        counted=scenario.counted,
        file_order=scenario.policies.file_order,
        shows_status=False,
    )


def planned_workers(scenario: Scenario) -> list[WorkerView]:
    """Return the workers as they will be when there are as many as there may be."""
    shared = [spec.worker_type for spec in scenario.workers if spec.count is None]
    counts = [(spec.worker_type, spec.count[1]) for spec in scenario.workers if spec.count is not None]
    counts += [(each, scenario.pool[1]) for each in shared]  # the pool may be all of one type
    return [WorkerView.planned(f"{each.name}#{number}", each) for each, count in counts for number in range(count)]


def _largest(places: Sequence[WorkerView]) -> Resources:
    largest = Resources()
    for place in places:
        largest = largest.at_least(place.capacity)
    return largest


def _bound_s(scenario: Scenario, workload: Workload, places: Sequence[WorkerView]) -> float:
    """Return what no plan can beat, by what tests really take: the first worker's start and the work after it."""
    first_s = min(spec.start_s * (1 - spec.jitter) for spec in scenario.workers)
    acts = workload.acts
    told = [
        replace(task, forecast=Forecast(wall_s=acts[task.task_id].seconds, memory_bytes=0)) for task in workload.tasks
    ]
    pools = [pool for pool in make_pools(group_tasks(told), places) if pool.eligible]
    return first_s + lower_bound_s(pools, places, scenario.counted)
