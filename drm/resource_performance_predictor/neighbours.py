"""What is known of a test that never ran: of its function with other parameters, its fixtures, its module, the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drm.model.work import Forecast, Task, Usage
from drm.resource_performance_predictor.costs import CostSettings
from drm.resource_performance_predictor.families import size_in
from drm.resource_performance_predictor.statistics import TestRecord, Totals, median

__all__ = ["Neighbours"]

# The next of n + 1 passes all n seen with probability 1 / (n + 1) (by exchangeability): 19 make it one in twenty.
_ENOUGH = 19
_SIZED_FROM, _SIZED_FROM_BYTES = 5, 64 * 2**20
_ROOM = 8  # times the largest seen: what a worker is taken to have where nobody says


class Neighbours:
    """Sums over attempts of the same function, module and run, and the forecasts that follow from them.

    ``margin``: on the median. ``limit_bytes``: of the largest worker; 0 where that is not known.
    """

    def __init__(self, default: Forecast, margin: float, limit_bytes: int, costs: CostSettings) -> None:
        self._default = default
        self._margin = margin
        self._limit_bytes = limit_bytes
        self._costs = costs
        self.scopes: dict[str, Totals] = {}
        self.all = Totals()
        self._functions: dict[str, Totals] = {}  # of tests with parameters
        self._users: dict[str, list[str]] = {}  # tests by fixture

    def learn(self, task_id: str, usage: Usage) -> None:
        """Count one finished attempt."""
        wall_s, rss_bytes, gpu_bytes = usage.wall_s, usage.peak_rss_bytes, usage.gpu_bytes
        scope = task_id.partition("::")[0]
        totals = self.scopes.get(scope)
        if totals is None:
            totals = self.scopes[scope] = Totals()
        totals.add(wall_s, rss_bytes, gpu_bytes)
        self.all.add(wall_s, rss_bytes, gpu_bytes)
        function, bracket, _ = task_id.partition("[")
        if bracket:
            totals = self._functions.get(function)
            if totals is None:
                totals = self._functions[function] = Totals()
            totals.add(wall_s, rss_bytes, gpu_bytes)
            if rss_bytes:
                totals.unsorted.append((task_id, wall_s, rss_bytes))

    def learn_scope(self, scope: str, walls: Sequence[float], peaks: Sequence[int]) -> None:
        """Count finished attempts of a module's tests."""
        totals = self.scopes.get(scope)
        if totals is None:
            totals = self.scopes[scope] = Totals()
        totals.add_all(walls, peaks)
        self.all.add_all(walls, peaks)

    def learn_parameters(self, task_id: str, walls: Sequence[float], peaks: Sequence[int]) -> None:
        """Count finished attempts of a test with parameters for its function."""
        function = task_id.partition("[")[0]
        totals = self._functions.get(function)
        if totals is None:
            totals = self._functions[function] = Totals()
        totals.add_all(walls, peaks)
        totals.unsorted.extend((task_id, wall_s, peak) for wall_s, peak in zip(walls, peaks, strict=True) if peak)

    def learn_fixtures(self, fixtures: Mapping[str, Sequence[str]]) -> None:
        """Note which fixtures of the project tests ask for, by test."""
        for task_id, names in fixtures.items():
            for name in names:
                self._users.setdefault(name, []).append(task_id)

    def function_of(self, task_id: str) -> Totals | None:
        """Return what is known of the function with any parameters."""
        return self._functions.get(task_id.partition("[")[0])

    def forecast(self, task: Task, made: dict[str, Forecast], records: Mapping[str, TestRecord]) -> Forecast:
        """Return the forecast of a test never seen. ``made``: those of this call, by function or module."""
        function, bracket, _ = task.task_id.partition("[")
        if bracket and function in self._functions:
            sized = self.of_size(task.task_id, made)
            if sized is not None:
                return sized
            forecast = made.get(function)
            if forecast is None:
                forecast = made[function] = self._from(self._functions[function], "siblings", 0)
            return forecast
        forecast = self.of_scope(task.scope, made)
        return self._with_fixtures(task, forecast, made, records) if task.fixtures else forecast

    def of_size(self, task_id: str, made: dict[str, Forecast]) -> Forecast | None:
        """Return the forecast by a function's sizes: where they vary, and enough memory is at stake.

        Sizes that agree in three digits share one: a function may have a million parameters.
        """
        totals = self.function_of(task_id)
        if totals is None:
            return None
        family, size = totals.sized(self._costs), size_in(task_id)
        if family is None or size is None or family.samples < _SIZED_FROM or family.largest < _SIZED_FROM_BYTES:
            return None
        size = float(f"{size:.2e}")
        key = f"{task_id.partition('[')[0]}[{size}"
        if key in made:
            return made[key]
        limit = self._limit_bytes or _ROOM * family.largest
        try:
            experts = family.catch_up(limit)
        except ImportError:  # numpy comes with the extra "ml": without it the function's quantile has to do
            return None
        if not experts.sizes_vary:
            return None
        forecast = made[key] = Forecast(
            wall_s=totals.wall_s / totals.samples,
            memory_bytes=math.ceil(family.predict(size, limit)[0]),
            gpu_bytes=totals.gpu_bytes,
            method="siblings",
            samples=family.samples,
        )
        return forecast

    def rule_of_size(self, task_id: str) -> str:
        """Return the expert that speaks for a function's sizes; empty where none does."""
        totals = self.function_of(task_id)
        if totals is None or totals.family is None or self.of_size(task_id, {}) is None:
            return ""
        return totals.family.catch_up(self._limit_bytes or _ROOM * totals.family.largest).leader

    def of_scope(self, scope: str, made: dict[str, Forecast]) -> Forecast:
        """Return the forecast of a module's tests never seen: made once per module and call."""
        forecast = made.get(scope)
        if forecast is None:
            totals = self.scopes.get(scope)
            if totals is not None:
                floor = 0 if totals.measured >= _ENOUGH else min(self._run_bytes(), self._default.memory_bytes)
                forecast = self._from(totals, "siblings", floor)
            elif self.all.samples:
                forecast = self._from(self.all, "run", self._run_bytes())
            else:
                forecast = self._default
            made[scope] = forecast
        return forecast

    def expected_wall_s(self, scope: str) -> float:
        """Return the seconds that a test never seen will probably take: the mean of its module, else of the run, but no
        less than if the default had been seen once more: a few quick tests do not make a hundred others pass for quick.
        """
        totals = self.scopes.get(scope, self.all)
        cautious_s = (totals.wall_s + self._default.wall_s) / (totals.samples + 1)
        return max(cautious_s, totals.wall_s / totals.samples) if totals.samples else cautious_s

    def _with_fixtures(
        self, task: Task, forecast: Forecast, made: dict[str, Forecast], records: Mapping[str, TestRecord]
    ) -> Forecast:
        """Return the forecast, raised to what other tests with one of its fixtures need in the median, and a half."""
        for name in task.fixtures:
            key = f"{name}()"  # no module is called that
            users = made.get(key)
            if users is None:
                known = [records[user] for user in self._users.get(name, ()) if user in records]
                peaks = [record.peak_rss_bytes for record in known if record.peak_rss_bytes]
                users = made[key] = Forecast(
                    wall_s=forecast.wall_s,
                    memory_bytes=math.ceil(self._margin * median(sorted(peaks))) if peaks else 0,
                    gpu_bytes=max((record.gpu_bytes for record in known), default=0),
                    method="siblings",
                    samples=len(peaks),
                )
            if users.memory_bytes > forecast.memory_bytes:
                forecast = users
        return forecast

    def _run_bytes(self) -> int:
        """Return what a test may need of which no more is known than that it belongs to this run."""
        seen = self._quantile(self.all)
        return seen if len(self.scopes) >= _ENOUGH else max(seen, self._default.memory_bytes)

    def _quantile(self, totals: Totals) -> int:
        return math.ceil(totals.memory_quantile(self._margin)) if totals.measured else 0

    def _from(self, totals: Totals, method: str, floor_bytes: int) -> Forecast:
        return Forecast(
            wall_s=totals.wall_s / totals.samples,
            memory_bytes=max(floor_bytes, self._quantile(totals)),
            gpu_bytes=totals.gpu_bytes,
            method=method,
            samples=totals.samples,
        )
