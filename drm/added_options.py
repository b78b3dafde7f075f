"""The options that DRM adds to pytest's."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["add_options"]


def add_options(add: Callable[..., object]) -> None:
    """Add them; ``add`` takes what ``argparse`` takes."""
    add("--drm", action="store_true", default=False, help="run the tests on resources that DRM manages")
    add(
        "--drm-executors",
        metavar="N|A..B|auto",
        default=None,
        help="processes on this machine (default: auto, one per core; 0: run in this process and only record)",
    )
    add("--drm-cpus", metavar="CORES", default=None, help="cores that tests may reserve (default: all)")
    add("--drm-gpus", metavar="N", default=None, help="gpus that tests may reserve (default: those NVML finds)")
    add("--drm-memory", metavar="SIZE", default=None, help="memory that tests may reserve (default: all)")
    add(
        "--drm-workers",
        metavar="A..B",
        default=None,
        help="separate workers, added and removed as the work asks (default: none)",
    )
    add(
        "--drm-provider",
        metavar="NAME[,NAME]",
        default=None,
        help="where separate workers come from, in the order of preference: local (default), docker, kubernetes, aws, "
        "gcp; each is set up in a section of its own (docs/clouds.md)",
    )
    add(
        "--drm-budget",
        metavar="USD",
        default=None,
        help="what all workers of the run may cost together; without it none that costs money is made",
    )
    add(
        "--drm-worker-type",
        metavar="cpu=N,...",
        action="append",
        default=None,
        help="what a separate worker has: cpu=1,memory=2GiB,gpu=1,labels=a+b,name=x; may be given again",
    )
    add(
        "--drm-lost-after",
        metavar="SECONDS",
        default=None,
        help="a separate worker of which nothing is heard for so long is lost (default: 15)",
    )
    add(
        "--drm-coordinator",
        metavar="HOST:PORT",
        default=None,
        help="run the tests on the workers of the coordinator that runs on this host (drm coordinator, drm worker)",
    )
    add(
        "--drm-start",
        choices=("fork", "spawn"),
        default=None,
        help="how executors start: fork (fast, collects once) or spawn (default: fork where there is one)",
    )
    add(
        "--drm-order",
        choices=("longest", "slow-first", "file", "failed-first", "risk"),
        default=None,
        help="which tests are begun first: the longest, which is slow-first (the shortest run; default), as they were "
        "collected (file), those that failed last (failed-first), those likely to fail soon (risk)",
    )
    add(
        "--drm-reserve",
        choices=("usual", "safe"),
        default=None,
        help="memory by what past runs used: as little as pays (usual; default), or so that few are killed (safe)",
    )
    add(
        "--drm-retries",
        metavar="N|crash=N,failure=N,timeout=N",
        default=None,
        help="how often a test is tried again after its process crashed (default: 1), it failed (0), it timed out (0)",
    )
    add(
        "--drm-timeout-factor",
        metavar="K",
        default=None,
        help="end a test that takes more than K times as long as when it was slow before (default: off)",
    )
    add(
        "--drm-scaling",
        metavar="POLICY[,NAME=NUMBER...]",
        default=None,
        help="when separate workers come and go: makespan (default) or utilization, such as utilization,target=0.7",
    )
    add(
        "--drm-value-of-time",
        metavar="USD",
        default=None,
        help="what an hour that the run ends sooner is worth (default: 50): a worker that costs money is added only if "
        "the time that it saves is worth more",
    )
    add(
        "--drm-speculate",
        action="store_true",
        default=None,
        help="start a test that takes twice as long as expected a second time where an executor has nothing to do; "
        "the first to end counts (default: only tests with the marker's idempotent=True)",
    )
    add(
        "--drm-plan", choices=("yes", "dry-run"), default=None, help="run no test: say what the run would do (drm plan)"
    )
    add("--drm-live", action="store_true", default=False, help="show each line that a test prints while it runs")
    add(
        "--drm-resume",
        metavar="DIR",
        default=None,
        help="go on with a run that was killed or cut short: what has ended in the record in DIR is not run again",
    )
    add("--drm-report-dir", metavar="DIR", default=None, help="write events.ndjson and results.json there")
