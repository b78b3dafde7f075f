"""What a test will need: by its own past, else by its siblings' (same function, fixtures, module), else the run's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.samples import Sample
from drm.model.work import Forecast, Outcome, Task, Usage
from drm.resource_performance_predictor.checks import check_settings, check_usage
from drm.resource_performance_predictor.columns import learn_columns, parted
from drm.resource_performance_predictor.costs import CostSettings
from drm.resource_performance_predictor.distributions import Prediction, Uncertainty, together
from drm.resource_performance_predictor.drift import as_here, since_change, speeds
from drm.resource_performance_predictor.neighbours import Neighbours
from drm.resource_performance_predictor.statistics import PredictorStatistics, TestRecord
from drm.resource_performance_predictor.surplus import Surplus

_LEAST_BYTES = 2**20  # below it a peak is what the allocator happened to take
_CPU_FROM_S = 0.05  # below this much wall time, cpu time over wall time says nothing
_GPU_MARGIN = 1.1


class ResourcePerformancePredictor:
    """Forecasts wall seconds, peak memory, gpu memory (bytes) and cpu cores of each test. Implements ``Forecaster``.

    Wall: the last attempt's, from five attempts on the median of the last three; else the mean of its module;
    else the mean of everything seen; else ``default_wall_s``. Memory: the largest peak of the test times
    ``memory_margin``, from five attempts on what would have cost least so far (``costs``: what a wrong guess costs),
    and what this run's attempts use beyond that; else a high quantile of the same function with other parameters; else
    of its module or its fixtures' users, else of the run. While fewer than 19 tests of the module and fewer than 19
    modules have been seen that proves little, and ``default_memory_bytes`` is the least. A high quantile is two
    deviations above the mean, or ``sibling_margin`` times the median if that is more. Never more than
    ``largest_bytes``, of the largest worker, where that is given.
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
        largest_bytes: int = 0,
        costs: CostSettings | None = None,
    ) -> None:
        check_settings(default_wall_s, default_memory_bytes, memory_margin, sibling_margin)
        self._memory_margin = memory_margin
        self._changed_margin = sibling_margin
        self._machine = machine
        self._limit_bytes = largest_bytes
        self._costs = costs or CostSettings()
        default = Forecast(wall_s=default_wall_s, memory_bytes=default_memory_bytes)
        self._neighbours = Neighbours(default, sibling_margin, largest_bytes, self._costs)
        self._past: dict[str, Sequence[Sample]] = {}
        self._news: list[tuple[str, Usage, Outcome | None]] = []  # of this run, since ``_uncertainty`` was asked for
        self._uncertainty: Uncertainty | None = None
        self._records: dict[str, TestRecord] = {}
        self._surplus = Surplus()
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
        elif record is not None and _tells_of_run(record, usage, outcome):
            self._surplus.see(usage.peak_rss_bytes - self._memory_margin * record.peak_rss_bytes)
        self._learn(task_id, usage, outcome)
        if outcome is not Outcome.NOT_RUN:
            self._records[task_id].is_of_run = True
        self._news.append((task_id, usage, outcome))
        self._recorded += 1

    def train_models(
        self,
        samples: Mapping[str, Sequence[Sample]],
        *,
        sources: Mapping[str, int] | None = None,
        fixtures: Mapping[str, Sequence[str]] | None = None,
    ) -> int:
        """Learn from past attempts, oldest first per test; return how many there were.

        Durations of other machine classes are taken as they would have been on this one, where tests that both ran
        tell how. ``sources``: what the tests' functions are now, as hashes: of a test that has changed only what came
        after counts, once there is something. ``fixtures``: those of the project that tests ask for, by test.
        ConfigError names the first bad one, and then nothing is learnt.
        """
        plain, others = parted(samples, self._machine, sources or {})
        for task_id, rows in others.items():
            for row in rows:
                check_usage(task_id, row.usage)
        factors = speeds({**samples, **others}, self._machine) if others else {}
        for task_id in [known for known in plain if known in self._records]:
            for wall_s, cpu_s, peak, outcome in zip(*plain.pop(task_id), strict=True):
                self._learn(task_id, Usage(wall_s=wall_s, cpu_s=cpu_s, peak_rss_bytes=peak), outcome)
        learn_columns(plain, self._records, self._neighbours, _CPU_FROM_S)
        self._neighbours.learn_fixtures(fixtures or {})
        count = sum(map(len, samples.values()))
        for task_id, rows in others.items():
            told, changed = since_change(rows, sources.get(task_id, 0)) if sources else (rows, False)
            for row in as_here(told, factors):
                self._learn_sample(task_id, row)
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
        for task_id, usage, outcome in self._news:
            self._uncertainty.learn(Sample(task_id=task_id, usage=usage, outcome=outcome))
        self._news.clear()
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
        totals = self._neighbours.function_of(task_id)
        family = totals.sized(self._costs) if totals is not None else None
        return family.scaling().factor(size, other) if family is not None else 1.0

    def predict_resource_requirements(self, tasks: Sequence[Task]) -> list[Forecast]:
        """Return one forecast per task, in the same order."""
        records = self._records
        made: dict[str, Forecast] = {}
        forecasts = []
        for task in tasks:
            record = records.get(task.task_id)
            if record is not None and (record.walls or record.peak_rss_bytes):
                forecasts.append(self._own(record, task.scope, made))
            else:
                forecasts.append(self._neighbours.forecast(task, made, records))
        return forecasts

    def expected_wall_s(self, task_id: str, scope: str) -> float:
        """Return the seconds that the next attempt will probably take (``Neighbours`` says so of a test never seen)."""
        record = self._records.get(task_id)
        return record.expected_s() if record is not None and record.walls else self._neighbours.expected_wall_s(scope)

    def slow_wall_s(self, task_id: str) -> float | None:
        """Return the seconds that the test takes when it is slow: the most of its last three attempts that
        passed, or None without any. What was skipped or failed at once, or was ended, says nothing of that."""
        record = self._records.get(task_id)
        return max(record.passed) if record is not None and record.passed else None

    def get_statistics(self) -> PredictorStatistics:
        """Return what has been learnt so far, in numbers."""
        everything = self._neighbours.all
        return PredictorStatistics(
            tests=len(self._records),
            scopes=len(self._neighbours.scopes),
            learnt=self._learnt,
            recorded=self._recorded,
            censored=self._censored,
            mean_wall_s=everything.wall_s / everything.samples if everything.samples else 0.0,
            peak_rss_bytes=everything.peak_rss_bytes,
        )

    def _learn_sample(self, task_id: str, row: Sample) -> None:
        usage = row.usage
        if usage.wall_s or usage.cpu_s or usage.peak_rss_bytes:  # else only its outcome is known
            self._learn(task_id, usage, None if row.death else row.outcome)
            if row.death == "memory":  # it would have used more
                self._records[task_id].killed(row.reserved_bytes, self._limit_bytes)

    def _learn(self, task_id: str, usage: Usage, outcome: Outcome | None) -> None:
        wall_s, cpu_s, rss_bytes, gpu_bytes = usage.wall_s, usage.cpu_s, usage.peak_rss_bytes, usage.gpu_bytes
        if not (
            0 <= wall_s < math.inf and 0 <= cpu_s < math.inf and 0 <= rss_bytes < math.inf and 0 <= gpu_bytes < math.inf
        ):
            check_usage(task_id, usage)
        if outcome is Outcome.NOT_RUN:
            return
        record = self._records.get(task_id)
        if record is None:
            record = self._records[task_id] = TestRecord()
        if record.samples >= 2 and outcome is not None:
            record.judge(rss_bytes, self._costs.failure_penalty)
        if rss_bytes > record.peak_rss_bytes:
            record.peak_rss_bytes = rss_bytes
        if gpu_bytes > record.gpu_bytes:
            record.gpu_bytes = gpu_bytes
        if outcome is None:
            self._censored += 1
            return
        record.finish(wall_s, cpu_s, _CPU_FROM_S, passed=outcome is Outcome.PASSED)
        self._neighbours.learn(task_id, usage)

    def _own(self, record: TestRecord, scope: str, made: dict[str, Forecast]) -> Forecast:
        cores = record.cpu_s / record.cpu_wall_s if record.cpu_wall_s else 1.0
        wall_s = record.expected_s() if record.walls else self._neighbours.of_scope(scope, made).wall_s
        if record.peak_rss_bytes:
            reserved = self._reservation(record)
            if self._surplus.bytes and not record.is_of_run:
                reserved = max(reserved, min(reserved + self._surplus.bytes, 2 * record.peak_rss_bytes))
            memory_bytes = max(math.ceil(reserved), record.wanted_bytes, _LEAST_BYTES)
        else:
            memory_bytes = self._neighbours.of_scope(scope, made).memory_bytes
        if self._limit_bytes and memory_bytes > self._limit_bytes:
            memory_bytes = self._limit_bytes
        return Forecast(
            wall_s=wall_s,
            memory_bytes=memory_bytes,
            cpu_cores=round(cores, 2),
            gpu_bytes=math.ceil(record.gpu_bytes * _GPU_MARGIN) if record.gpu_bytes else 0,
            method="history",
            samples=record.samples,
        )

    def _reservation(self, record: TestRecord) -> float:
        if record.is_changed:
            return record.peak_rss_bytes * self._changed_margin
        return record.reservation(self._memory_margin, self._costs.failure_penalty)

    def _why(self, task: Task, forecast: Forecast) -> str:
        """Return the rule that a forecast came from, in a sentence."""
        record = self._records.get(task.task_id)
        if forecast.method == "history" and record is not None:
            if record.kills and record.wanted_bytes >= self._reservation(record):
                times = "once" if record.kills == 1 else f"{record.kills} times in a row"
                return f"it was killed for memory {times}, so it gets more than it had; its durations until then"
            rule = record.rule(self._memory_margin, self._costs.failure_penalty)
            if record.is_changed:
                rule = f"it has changed since its {record.samples} attempts: half as much again as the largest of them"
            return f"{rule}; of its durations {'the last' if record.samples < 5 else 'the median of the last three'}"
        if forecast.method == "siblings":
            rule = self._neighbours.rule_of_size(task.task_id)
            if rule:
                return f"by size, from {forecast.samples} attempts with other parameters; nearest so far: {rule}"
        return {
            "siblings": f"from {forecast.samples} attempts of its function, fixture or module: it has none of its own",
            "run": f"from all {forecast.samples} attempts of the run: nothing is known of its module",
        }.get(forecast.method, "nothing is known: the configured default")


def _tells_of_run(record: TestRecord, usage: Usage, outcome: Outcome | None) -> bool:
    """Tell whether an attempt is this run's first of a test whose memory is known."""
    known = record.samples and record.peak_rss_bytes and not record.is_of_run
    return bool(known and usage.peak_rss_bytes and outcome is not None)
