"""The statistics tier: a test's own past, else its siblings' (same function, same module), else the run's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.work import Forecast, Outcome, Task, Usage
from drm.ports import Sample
from drm.resource_performance_predictor.checks import check_settings, check_usage
from drm.resource_performance_predictor.columns import learn_columns, parted
from drm.resource_performance_predictor.distributions import Prediction, Uncertainty, together
from drm.resource_performance_predictor.drift import as_here, since_change, speeds
from drm.resource_performance_predictor.families import size_in
from drm.resource_performance_predictor.statistics import PredictorStatistics, TestRecord, Totals, median_of_last

# The next of n + 1 passes all n seen with probability 1 / (n + 1) (by exchangeability): 19 make it one in twenty.
_ENOUGH = 19
_LEAST_BYTES = 2**20  # below it a peak is what the allocator happened to take
_SIZED_FROM, _SIZED_FROM_BYTES = 5, 64 * 2**20
_ROOM = 8  # times the largest seen: what a worker is taken to have, of which the predictor knows nothing
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
        machine: str = "",
    ) -> None:
        check_settings(default_wall_s, default_memory_bytes, memory_margin, sibling_margin)
        self._default = Forecast(wall_s=default_wall_s, memory_bytes=default_memory_bytes)
        self._memory_margin = memory_margin
        self._sibling_margin = sibling_margin
        self._machine = machine
        self._past: dict[str, Sequence[Sample]] = {}
        self._uncertainty: Uncertainty | None = None
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
        record = self._records.get(task_id)
        if record is not None and record.is_changed and outcome is not None and outcome is not Outcome.NOT_RUN:
            check_usage(task_id, usage)
            del self._records[task_id]  # what was known of it was of another test
        self._learn(task_id, usage, outcome)
        self._recorded += 1

    def train_models(self, samples: Mapping[str, Sequence[Sample]], *, sources: Mapping[str, int] | None = None) -> int:
        """Learn from past attempts, oldest first per test; return how many there were.

        Durations of other machine classes are taken as they would have been on this one, where tests that both ran
        tell how. ``sources``: what the tests' functions are now, as hashes: of a test that has changed only what came
        after counts, once there is something. ConfigError names the first bad one, and then nothing is learnt.
        """
        plain, others = parted(samples, self._machine, sources or {})
        for task_id, rows in others.items():
            for row in rows:
                check_usage(task_id, row.usage)
        factors = speeds({**samples, **others}, self._machine) if others else {}
        for task_id in [known for known in plain if "[" in known or known in self._records]:
            for wall_s, cpu_s, peak in zip(*plain.pop(task_id), strict=True):
                self._learn(task_id, Usage(wall_s=wall_s, cpu_s=cpu_s, peak_rss_bytes=peak), Outcome.PASSED)
        self._all.merge(learn_columns(plain, self._records, self._scopes, _CPU_FROM_S))
        count = sum(map(len, samples.values()))
        for task_id, rows in others.items():
            told, changed = since_change(rows, sources.get(task_id, 0)) if sources else (rows, False)
            for row in as_here(told, factors):
                usage = row.usage
                if usage.wall_s or usage.cpu_s or usage.peak_rss_bytes:  # else only its outcome is known
                    self._learn(task_id, usage, None if row.death else row.outcome)
                    if row.death == "memory":  # it would have used more
                        self._records[task_id].wanted_bytes = 2 * row.reserved_bytes
            if changed and task_id in self._records:
                self._records[task_id].is_changed = True
            others[task_id] = told
        self._past.update({task_id: others.get(task_id, rows) for task_id, rows in samples.items()})
        self._uncertainty, self._learnt = None, self._learnt + count
        return count

    def predict_distribution(self, task: Task) -> Prediction:
        """Return all that is known of what the test's next attempt will need: quantiles, confidence, and why."""
        if self._uncertainty is None:
            self._uncertainty = Uncertainty(self._past)
        (forecast,) = self.predict_resource_requirements([task])
        return self._uncertainty.predict(task.task_id, forecast, self._why(task, forecast))

    def predict_together(self, name: str, tasks: Sequence[Task]) -> Prediction:
        """Return the same of a test taken at random from these: a module's, a component's, a class of parameters'."""
        return together(name, [self.predict_distribution(task) for task in tasks])

    def get_resource_scaling_factor(self, task_id: str, size: float, other: float) -> float:
        """Return what the memory that a test needs at ``size`` is to be multiplied by at ``other``.

        ``task_id``: any test of the function, with or without parameters. A power of the ratio, fitted to what is
        known of the function at sizes that vary; 1.0 while size has not been shown to tell anything.
        """
        totals = self._functions.get(task_id.partition("[")[0])
        family = totals.sized() if totals is not None else None
        return family.scaling().factor(size, other) if family is not None else 1.0

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
            check_usage(task_id, usage)
        if outcome is Outcome.NOT_RUN:
            return
        record = self._records.get(task_id)
        if record is None:
            record = self._records[task_id] = TestRecord()
        if record.samples >= 2 and outcome is not None:
            record.judge(rss_bytes)
        if rss_bytes > record.peak_rss_bytes:
            record.peak_rss_bytes = rss_bytes
        if outcome is None:
            self._censored += 1
            return
        record.samples += 1
        record.wanted_bytes = 0
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
            if rss_bytes:
                totals.unsorted.append((task_id, wall_s, rss_bytes))

    def _own(self, record: TestRecord, scope: str, by_scope: dict[str, Forecast]) -> Forecast:
        cores = record.cpu_s / record.cpu_wall_s if record.cpu_wall_s else 1.0
        wall_s = median_of_last(record.walls) if record.walls else self._of_scope(scope, by_scope).wall_s
        if record.peak_rss_bytes:
            margin = self._sibling_margin if record.is_changed else record.margin(self._memory_margin)
            memory_bytes = max(math.ceil(record.peak_rss_bytes * margin), record.wanted_bytes, _LEAST_BYTES)
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
        sized = self._of_size(task.task_id, self._functions[function])
        if sized is not None:
            return sized
        forecast = by_scope.get(function)
        if forecast is None:
            forecast = by_scope[function] = self._mean(self._functions[function], "siblings", 0)
        return forecast

    def _of_size(self, task_id: str, totals: Totals) -> Forecast | None:
        """Return the forecast by a function's sizes: where they vary, and enough memory is at stake."""
        family, size = totals.sized(), size_in(task_id)
        if family is None or size is None or family.samples < _SIZED_FROM or family.largest < _SIZED_FROM_BYTES:
            return None
        try:
            experts = family.catch_up(_ROOM * family.largest)
        except ImportError:  # numpy comes with the extra "ml": without it the function's quantile has to do
            return None
        if not experts.sizes_vary:
            return None
        return Forecast(
            wall_s=totals.wall_s / totals.samples,
            memory_bytes=math.ceil(family.predict(size, _ROOM * family.largest)[0]),
            method="siblings",
            samples=family.samples,
        )

    def _why(self, task: Task, forecast: Forecast) -> str:
        """Return the rule that a forecast came from, in a sentence."""
        record = self._records.get(task.task_id)
        if forecast.method == "history" and record is not None:
            if record.is_changed:
                return f"it has changed since its {record.samples} attempts: half as much again as the largest of them"
            added = record.margin(self._memory_margin) - 1
            return f"the largest of its {record.samples} attempts and {added:.0%}; the median of its last durations"
        totals = self._functions.get(task.task_id.partition("[")[0])
        is_sized = totals is not None and self._of_size(task.task_id, totals) is not None
        if forecast.method == "siblings" and is_sized and totals is not None and totals.family is not None:
            rule = totals.family.catch_up(_ROOM * totals.family.largest).leader
            return f"by size, from {forecast.samples} attempts with other parameters; nearest so far: {rule}"
        return {
            "siblings": f"from {forecast.samples} attempts of its function or module: it has none of its own",
            "run": f"from all {forecast.samples} attempts of the run: nothing is known of its module",
        }.get(forecast.method, "nothing is known: the configured default")

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
