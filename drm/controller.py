"""The controller: an ordinary pytest session whose tests run on DRM's executors."""

from __future__ import annotations

import errno
import gc
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drm.coordinator.accounts import Accounts
from drm.garbage import no_search_for_garbage, rare_searches_for_garbage
from drm.inline import InlineRun, is_benchmark
from drm.interruptions import Interruptions
from drm.launching import choose_start_method, connected_engine, launcher_of, suite_of, tasks_of
from drm.model.errors import DrmError
from drm.model.work import Task
from drm.nodes import Nodes
from drm.options import run_options
from drm.pytest_surface import PytestSurface
from drm.quarantine import is_in_quarantine
from drm.session import Journal, Run, new_run_id
from drm.settings import read_settings
from drm.sources import sources_of
from drm.status_line import StatusLine
from drm.summary import RunSummary
from drm.worker.once_files import once_folder, sweep
from drm.worker.shared_descriptors import OPEN_BEFORE
from drm.worker.suite import Suite, items_of

if TYPE_CHECKING:
    from drm.resuming import InterruptedRun


class Controller:
    """A pytest plugin. Collection, options, reporting stay pytest's; only the loop over tests is replaced."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._settings = read_settings(config.rootpath)
        self._options = run_options(config, self._settings)
        self._status = StatusLine(config, time.monotonic)
        self._items: dict[str, pytest.Item] = {}
        self._tasks: list[Task] = []
        self._journal: Journal | None = None
        self._inline: InlineRun | None = None
        self._summary: RunSummary | None = None
        self._accounted = False
        self._interruptions = Interruptions()
        self._ran_here = False
        self._resumed: InterruptedRun | None = None
        if config.getoption("drm_resume") is not None:
            from drm.resuming import read_interrupted

            self._resumed = read_interrupted(config.invocation_params.dir / config.getoption("drm_resume"))
            self._resumed.check(self._options.rootdir, self._options.command, self._options.report_dir)

    @property
    def run_id(self) -> str:
        """The id under which the run is recorded; empty until tests are about to run."""
        return self._journal.run_id if self._journal is not None else ""

    # -- collection

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        with rare_searches_for_garbage():  # what is collected stays, and each search would go through all of it
            result = yield
            gc.freeze()  # or the first search at the usual pace would
        if self._resumed is not None:  # not where Ctrl-C has ended the collection: then most are missing
            try:
                self._resumed.check_collected(self._items)
            except DrmError as error:
                raise pytest.UsageError(str(error)) from None
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read every test's requirements: a bad marker is a usage error, before anything runs."""
        self._items = items_of(session)
        try:
            self._tasks = tasks_of(self._items, self._settings)
        except DrmError as error:
            raise pytest.UsageError(str(error)) from None

    # -- the run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        option = session.config.option
        if option.collectonly or (session.testsfailed and not option.continue_on_collection_errors):
            return None  # pytest's own loop says what there is to say
        if option.setupplan or option.setuponly or option.setupshow or not self._tasks:
            return None
        if option.drm_plan:
            from drm.planning import plan_lines

            for line in plan_lines(self._tasks, self._options, asks=option.drm_plan == "dry-run"):
                self._status.say(line)
            return True
        no_executors = self._options.executors[1] == 0 and not self._options.has_pool
        if no_executors or all(map(is_benchmark, self._items.values())):
            if self._resumed is not None:
                raise pytest.UsageError("a run in the controller's own process cannot be resumed; start it again")
            self._start_inline()
            return None
        self._run(session)
        return True

    def _start_inline(self) -> None:
        gc.unfreeze()  # tests that run here find garbage as they are used to
        self._journal = Journal(self._options, run_id=new_run_id(), say=self._status.say)
        ids = {item: task_id for task_id, item in self._items.items()}
        self._inline = InlineRun(self._journal.recorder, Accounts(), ids)
        self._inline.start(self._tasks, self._options.capacity)
        self._config.pluginmanager.register(self._inline, "drm-inline")
        self._ran_here = True

    def _run(self, session: pytest.Session) -> None:
        with self._interruptions.handled():
            left = max(0, self._options.max_failures - session.testsfailed)  # failed collections count too
            before = self._config.stash.get(OPEN_BEFORE, {})
            start_method = choose_start_method(self._options, before, self._status.say)
            marked = self._items.items() if self._settings.patterns.get("quarantine") else ()
            excused = frozenset(task_id for task_id, item in marked if is_in_quarantine(item))
            self._options = replace(self._options, start_method=start_method, max_failures=left, excused=excused)
            run_id = self._resumed.run_id if self._resumed is not None else new_run_id()
            suite = suite_of(self._config, self._options, run_id)
            nodes = Nodes(self._config, suite, self._status.say)
            if self._options.has_pool:
                suite = nodes.collecting()
            surface = PytestSurface(session, self._items, self._status, nodes)
            try:
                engine, table = connected_engine(self._options, suite, surface, self._status.say)
            except DrmError as error:
                raise pytest.exit.Exception(f"drm: {error}", returncode=3) from None
            live = (self._status.activity, *([table] if table is not None else []))
            try:
                self._journal = Journal(
                    self._options, run_id=run_id, say=self._status.say, also=live, resumed=self._resumed
                )
            except DrmError as error:  # of a run that is resumed
                if engine is not None:
                    engine.close()
                raise pytest.UsageError(str(error)) from None
            try:
                run = Run(self._options, self._journal, surface, suite, engine)
            except DrmError as error:
                self._journal.recorder.close()
                raise pytest.exit.Exception(f"drm: {error}", returncode=3) from None
            self._interruptions.end_orderly = run.coordinator.request_stop
            failure = self._carry_out(run, session, suite, surface)
        self._status.end()
        self._raise(session, run, failure)

    def _carry_out(
        self, run: Run, session: pytest.Session, suite: Suite, surface: PytestSurface
    ) -> BaseException | None:
        """Run the tests; return what broke the run off, if anything did. Nothing of it is left when this returns."""
        failure: BaseException | None = None
        gc.freeze()  # what was collected stays until the end: no search for garbage need look at it
        try:
            if self._resumed is not None:
                from drm.taking_up import take_up

                option = session.config.option
                limit, option.maxfail = option.maxfail, None  # it is for what fails from here on
                self._tasks = take_up(self._resumed, self._tasks, self._items, run.coordinator, surface)
                option.maxfail = limit and limit + session.testsfailed
            if self._interruptions.signal:
                run.coordinator.hold(self._tasks)  # none will run; all are accounted for
                raise KeyboardInterrupt
            if not self._options.has_pool:
                run.start_local_worker(launcher_of(session, self._items, suite, self._options))
            left_ids = {task.task_id for task in self._tasks}
            alone = {item: id_ for id_, item in self._items.items() if id_ in left_ids and is_benchmark(item)}
            with rare_searches_for_garbage():  # after the fork: executors search as often as the suite is used to
                shared = [task for task in self._tasks if self._items[task.task_id] not in alone]
                with no_search_for_garbage():
                    run.submit(shared, sources_of(self._items))
                accounts = run.coordinator.hold([task for task in self._tasks if self._items[task.task_id] in alone])
                run.coordinator.run()
            if alone and not run.coordinator.stop_reason:
                self._run_alone(run, InlineRun(run.journal.recorder, accounts, alone, run.journal.keep), session)
        except (DrmError, KeyboardInterrupt) as error:
            failure = error
            run.coordinator.request_stop(str(error) or "interrupted")
        finally:
            interrupt = bool(self._interruptions.signal or isinstance(failure, KeyboardInterrupt))
            try:
                run.coordinator.close(interrupt=interrupt)
            except DrmError as error:  # a machine could not be ended
                failure = failure or error
        for line in sweep(once_folder(Path(suite.basetemp), suite.run_id)):
            self._status.say(line)
        return failure

    def _run_alone(self, run: Run, inline: InlineRun, session: pytest.Session) -> None:
        """Run the benchmarks in this process, to whose plugin they tell what they measured."""
        run.coordinator.retire()
        self._status.say("benchmarks run now in this process, alone, one after another")
        self._interruptions.end_orderly = None  # Ctrl-C breaks them off at once, as in a run without DRM
        self._ran_here = True
        inline.run(session)
        if session.shouldfail or session.shouldstop:
            run.coordinator.request_stop(str(session.shouldfail or session.shouldstop))

    def _raise(self, session: pytest.Session, run: Run, failure: BaseException | None) -> None:
        """End as pytest would have ended had it run the tests itself."""
        asked = run.coordinator.stop_asked
        if self._interruptions.signal == signal.SIGTERM:
            raise pytest.exit.Exception("terminated by SIGTERM", returncode=128 + signal.SIGTERM)
        if self._interruptions.signal or isinstance(failure, KeyboardInterrupt):
            raise KeyboardInterrupt
        if failure is not None:
            if self._options.report_dir is not None and run.coordinator.stop_reason:
                self._status.say(f"drm run --resume {self._options.report_dir} goes on with what did not run")
            raise pytest.exit.Exception(f"drm: {failure}", returncode=3)
        if asked is not None and asked.kind == "exit":
            raise pytest.exit.Exception(asked.message, returncode=asked.exit_code)
        if asked is not None and asked.kind == "interrupt":
            raise KeyboardInterrupt(asked.message)
        if session.shouldfail or (asked is not None and asked.kind == "fail"):
            raise session.Failed(session.shouldfail or (asked.message if asked else ""))
        if session.shouldstop or asked is not None:
            raise session.Interrupted(session.shouldstop or (asked.message if asked else ""))

    # -- the end

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
        """Finish the record; then let a report that finds the disk full (junit.xml) cost no more than a line."""
        self._finish_record(session, exitstatus)
        for implementation in session.config.hook.pytest_sessionfinish.get_hookimpls():
            if not (implementation.wrapper or implementation.hookwrapper):
                # Final, says pluggy; but around one plugin's hook there is no other way to be.
                guarded = self._unless_full(implementation.function, implementation.plugin)
                implementation.function = guarded  # type: ignore[misc]
        return (yield)

    def _unless_full(self, finish: Callable[..., object], plugin: object) -> Callable[..., object]:
        """Return a plugin's end of the session that says in a line that the disk is full; the others' follow."""

        def finish_or_say(*given: object) -> object:
            try:
                return finish(*given)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                # A write that fails does not know its file; pytest's junit plugin has it as ``logfile``.
                file = error.filename or getattr(plugin, "logfile", None) or f"the report of {type(plugin).__name__}"
                self._status.say(f"cannot write {file}: {error.strerror}; free some space")
                return None

        return finish_or_say

    def _finish_record(self, session: pytest.Session, exitstatus: int) -> None:
        if self._inline is not None:
            ended = "" if exitstatus in (0, 1) else f"the session ended with exit code {int(exitstatus)}"
            self._inline.finish(str(session.shouldfail or session.shouldstop or ended))
        if self._journal is not None:
            self._summary = self._journal.summary()
            if self._summary.doubts:  # told in the closing lines
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            self._write_results(self._summary, int(session.exitstatus))

    def _write_results(self, summary: RunSummary, exit_code: int) -> None:
        if self._options.report_dir is None:
            return
        from drm.reporting.results import write_results

        try:
            write_results(summary, self._options.report_dir / "results.json", exit_code=exit_code)
        except DrmError as error:
            self._status.say(str(error))

    def pytest_terminal_summary(self) -> None:
        self._give_account()

    def pytest_unconfigure(self) -> None:
        self._give_account()  # pytest has no summary for exit codes that are not its own
        if not self._ran_here:  # what follows is pytest's search for garbage that tests left behind
            gc.freeze()

    def _give_account(self) -> None:
        if self._summary is None or self._accounted or self._config.getoption("verbose", 0) < -1:
            return
        from drm.reporting.terminal import closing_lines

        self._accounted = True
        for line in closing_lines(self._summary):
            self._status.say(line)
