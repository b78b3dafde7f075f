"""The statistics tier: a test's own past, else its siblings' (same function, same module), else the run's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.errors import ConfigError
from drm.model.units import format_bytes
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.ports import Sample
from drm.resource_performance_predictor.statistics import PredictorStatistics, TestRecord, Totals, median_of_last

# The next of n + 1 passes all n seen with probability 1 / (n + 1) (by exchangeability): 19 make it one in twenty.
_ENOUGH = 19
_CPU_FROM_S = 0.05  # below this much wall time, cpu time over wall time says nothing


class ResourcePerformancePredictor:
    """Forecasts wall seconds, peak memory (bytes) and cpu cores of each test. Implements ``Forecaster``.

    Wall: the median of the test's last three attempts; else the mean of its module;
    else the mean of everything seen; else ``default_wall_s``. Memory: the largest
    peak of the test times ``memory_margin``; else a high quantile of the same function with other parameters; else
    of its module, else of the run. While fewer than 19 tests of the module and fewer than 19 modules have been
    seen that proves little, and ``default_memory_bytes`` is the least. A high quantile is two deviations above
    the mean, or ``sibling_margin`` times the mean if that is more.
    Pure: no clock, no store; the same calls give the same forecasts.
    """

    def __init__(
        self,
        *,
        default_wall_s: float = 0.1,
        default_memory_bytes: int = 256 * 2**20,
        memory_margin: float = 1.1,
        sibling_margin: float = 1.5,
    ) -> None:
        _check_settings(default_wall_s, default_memory_bytes, memory_margin, sibling_margin)
        self._default = Forecast(wall_s=default_wall_s, memory_bytes=default_memory_bytes)
        self._memory_margin = memory_margin
        self._sibling_margin = sibling_margin
        self._records: dict[str, TestRecord] = {}
        self._scopes: dict[str, Totals] = {}
        self._functions: dict[str, Totals] = {}  # of tests with parameters
        self._all = Totals()
        self._learnt = self._recorded = self._censored = 0

    def record_task_execution(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        """Learn from one attempt of this run.

        ``outcome`` None: it was cut short, so only its memory counts, as "at least this".
        ConfigError (nothing learnt) for amounts that are negative or not finite.
        """
        self._learn(task_id, usage, outcome)
        self._recorded += 1

    def train_models(self, samples: Mapping[str, Sequence[Sample]]) -> int:
        """Learn from past attempts, oldest first per test; return how many there were.

        ConfigError names the first bad one, and then nothing is learnt.
        """
        for task_id, rows in samples.items():
            for row in rows:
                _check(task_id, row.usage)
        count = 0
        for task_id, rows in samples.items():
            for row in rows:
                self._learn(task_id, row.usage, row.outcome)
                count += 1
        self._learnt += count
        return count

    def predict_resource_requirements(self, tasks: Sequence[Task]) -> list[Forecast]:
        """Return one forecast per task, in the same order."""
        records = self._records
        by_scope: dict[str, Forecast] = {}
        forecasts = []
        for task in tasks:
            record = records.get(task.task_id)
            if record is not None and (record.walls or record.peak_rss_bytes):
                forecasts.append(self._own(record, task.scope, by_scope))
            else:
                forecasts.append(self._of_siblings(task, by_scope))
        return forecasts

    def expected_wall_s(self, task_id: str, scope: str) -> float:
        """Return the seconds that the next attempt will probably take.

        Of a test never seen: the mean of its module, else of the run, but no less than if the default had been
        seen once more: a few quick tests do not make a hundred others pass for quick.
        """
        record = self._records.get(task_id)
        if record is not None and record.walls:
            return median_of_last(record.walls)
        totals = self._scopes.get(scope, self._all)
        cautious_s = (totals.wall_s + self._default.wall_s) / (totals.samples + 1)
        return max(cautious_s, totals.wall_s / totals.samples) if totals.samples else cautious_s

    def slow_wall_s(self, task_id: str) -> float | None:
        """Return the seconds that the test takes when it is slow: the 99th percentile (nearest rank) of the walls
        that are kept of it, which of so few is the largest; None for a test never seen."""
        record = self._records.get(task_id)
        return max(record.walls) if record is not None and record.walls else None

    def get_statistics(self) -> PredictorStatistics:
        """Return what has been learnt so far, in numbers."""
        return PredictorStatistics(
            tests=len(self._records),
            scopes=len(self._scopes),
            learnt=self._learnt,
            recorded=self._recorded,
            censored=self._censored,
            mean_wall_s=self._all.wall_s / self._all.samples if self._all.samples else 0.0,
            peak_rss_bytes=self._all.peak_rss_bytes,
        )

    def _learn(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        wall_s, cpu_s, rss_bytes = usage.wall_s, usage.cpu_s, usage.peak_rss_bytes
        if not (0 <= wall_s < math.inf and 0 <= cpu_s < math.inf and 0 <= rss_bytes < math.inf):
            _check(task_id, usage)
        if outcome is Outcome.NOT_RUN:
            return
        record = self._records.get(task_id)
        if record is None:
            record = self._records[task_id] = TestRecord()
        if rss_bytes > record.peak_rss_bytes:
            record.peak_rss_bytes = rss_bytes
        if outcome is None:
            self._censored += 1
            return
        record.samples += 1
        record.walls = (*record.walls[-2:], wall_s)
        if wall_s >= _CPU_FROM_S:
            record.cpu_s += cpu_s
            record.cpu_wall_s += wall_s
        scope = task_id.partition("::")[0]
        totals = self._scopes.get(scope)
        if totals is None:
            totals = self._scopes[scope] = Totals()
        totals.add(wall_s, rss_bytes)
        self._all.add(wall_s, rss_bytes)
        function, bracket, _ = task_id.partition("[")
        if bracket:
            totals = self._functions.get(function)
            if totals is None:
                totals = self._functions[function] = Totals()
            totals.add(wall_s, rss_bytes)

    def _own(self, record: TestRecord, scope: str, by_scope: dict[str, Forecast]) -> Forecast:
        cores = record.cpu_s / record.cpu_wall_s if record.cpu_wall_s else 1.0
        wall_s = median_of_last(record.walls) if record.walls else self._of_scope(scope, by_scope).wall_s
        if record.peak_rss_bytes:
            memory_bytes = math.ceil(record.peak_rss_bytes * self._memory_margin)
        else:
            memory_bytes = self._of_scope(scope, by_scope).memory_bytes
        return Forecast(
            wall_s=wall_s,
            memory_bytes=memory_bytes,
            cpu_cores=round(cores, 2),
            method="history",
            samples=record.samples,
        )

    def _of_siblings(self, task: Task, by_scope: dict[str, Forecast]) -> Forecast:
        """Return the forecast of a test never seen: of its function with other parameters, else of its module."""
        function, bracket, _ = task.task_id.partition("[")
        if not bracket or function not in self._functions:
            return self._of_scope(task.scope, by_scope)
        forecast = by_scope.get(function)
        if forecast is None:
            forecast = by_scope[function] = self._mean(self._functions[function], "siblings", 0)
        return forecast

    def _of_scope(self, scope: str, by_scope: dict[str, Forecast]) -> Forecast:
        """Return the forecast of a module's tests never seen: made once per module and call."""
        forecast = by_scope.get(scope)
        if forecast is None:
            totals = self._scopes.get(scope)
            if totals is not None:
                floor = 0 if totals.measured >= _ENOUGH else min(self._run_bytes(), self._default.memory_bytes)
                forecast = self._mean(totals, "siblings", floor)
            elif self._all.samples:
                forecast = self._mean(self._all, "run", self._run_bytes())
            else:
                forecast = self._default
            by_scope[scope] = forecast
        return forecast

    def _run_bytes(self) -> int:
        """Return what a test may need of which no more is known than that it belongs to this run."""
        seen = self._quantile(self._all)
        return seen if len(self._scopes) >= _ENOUGH else max(seen, self._default.memory_bytes)

    def _quantile(self, totals: Totals) -> int:
        return math.ceil(totals.memory_quantile(self._sibling_margin)) if totals.measured else 0

    def _mean(self, totals: Totals, method: str, floor_bytes: int) -> Forecast:
        return Forecast(
            wall_s=totals.wall_s / totals.samples,
            memory_bytes=max(floor_bytes, self._quantile(totals)),
            method=method,
            samples=totals.samples,
        )


def _check(task_id: str, usage: Usage) -> None:
    """Raise ConfigError for a usage that cannot have been measured."""
    for name in ("wall_s", "cpu_s", "peak_rss_bytes"):
        value = getattr(usage, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"sample of {task_id}: {name} is {value!r}", remedy="leave this sample out")


def _check_settings(wall_s: float, memory_bytes: int, memory_margin: float, sibling_margin: float) -> None:
    if not 0 < wall_s < math.inf:
        raise ConfigError(f"default_wall_s: {wall_s!r} is not a duration")
    if not 0 <= memory_bytes < math.inf:
        raise ConfigError(f"default_memory_bytes: {format_bytes(memory_bytes)} is not a size")
    for name, margin in (("memory_margin", memory_margin), ("sibling_margin", sibling_margin)):
        if not 1 <= margin < math.inf:
            raise ConfigError(f"{name}: {margin!r} is not a factor of at least 1")
