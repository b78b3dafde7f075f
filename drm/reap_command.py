"""``drm reap``: ends containers and cloud instances that nobody needs any more."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.owner import is_alive
from drm.cloud_provider_manager.providers.aws import AwsProvider, AwsSettings
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.cloud_provider_manager.providers.gcp import GcpProvider, GcpSettings
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings
from drm.cloud_provider_manager.reaping import BOOT_GRACE_S, Reaped, reap
from drm.command_line import USAGE_ERROR, Parser, seconds
from drm.model.errors import DrmError
from drm.model.resources import ZERO
from drm.ports import CloudProvider
from drm.session import SystemClock

__all__ = ["main"]

_HISTORY = Path(".drm", "history.db")


def main(arguments: Sequence[str]) -> int:
    """Run ``drm reap ARGUMENTS``; return the exit code: 0, 1 where something could not be ended, 4 for usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.docker is None and options.kubernetes is None and not (options.aws or options.gcp):
        parser.error("name where to look: --docker, --kubernetes, --aws REGION, --gcp PROJECT, or several")
    try:
        done = _reap(options)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return USAGE_ERROR
    for line in _lines(done, dry_run=options.dry_run):
        print(line)
    for problem in done.problems:
        print(f"drm: {problem}", file=sys.stderr)
    return 0 if done.clean else 1


def _reap(options: argparse.Namespace) -> Reaped:
    providers: list[CloudProvider] = []
    if options.docker is not None:
        providers.append(DockerProvider(ZERO, (), image="", host=options.docker))
    for region in dict.fromkeys(options.aws):
        settings = AwsSettings(region=region, image="", limit=ZERO, endpoint_url=options.aws_endpoint)
        providers.append(AwsProvider(settings, (), name="aws" if len(options.aws) == 1 else f"aws {region}"))
    if options.kubernetes is not None:
        context, _, namespace = options.kubernetes.rpartition("/")
        pods = KubernetesSettings(image="", limit=ZERO, namespace=namespace or "default", context=context)
        providers.append(KubernetesProvider(pods, ()))
    for project in dict.fromkeys(options.gcp):
        machines = GcpSettings(project=project, image="", limit=ZERO, endpoint=options.gcp_endpoint)
        providers.append(GcpProvider(machines, (), name="gcp" if len(options.gcp) == 1 else f"gcp {project}"))
    given = {"dry_run": options.dry_run, "boot_grace_s": options.boot_grace}
    if not options.history.is_file():
        return reap(providers, clock=SystemClock(), alive=is_alive, wait=time.sleep, **given)
    with closing(Journal(options.history)) as journal:
        return reap(providers, clock=SystemClock(), alive=is_alive, wait=time.sleep, journal=journal, **given)


def _lines(done: Reaped, *, dry_run: bool) -> list[str]:
    lines = [
        f"{each.outcome:<10} {each.instance.provider} {each.instance.instance_id[:40]} "
        f"({each.instance.worker_id} of run {each.instance.tag('drm-run') or 'unknown'}): {each.reason}"
        for each in done.findings
    ]
    lines += [
        f"{'unknown':<10} {each.provider} {each.zone} ({each.worker_id} of run {each.run_id}): asked for"
        f" {datetime.fromtimestamp(each.asked_at, UTC):%Y-%m-%d %H:%M:%S} UTC, and not to be seen"
        for each in done.unknown
    ]
    outcomes = [each.outcome for each in done.findings]
    ends = f"{outcomes.count('would end')} would be ended" if dry_run else f"{outcomes.count('ended')} ended"
    failed = f", {outcomes.count('failed')} could not be" if "failed" in outcomes else ""
    return [*lines, f"{len(outcomes)} looked at: {ends}{failed}, {outcomes.count('kept')} kept"]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="drm reap",
        description="End containers and cloud instances of DRM whose controller is gone, or whose lease has ended. One"
        " without DRM's tag, one whose run goes on, and one that is in its lease on another machine's behalf are kept.",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be ended, and end nothing")
    parser.add_argument(
        "--docker", metavar="HOST", nargs="?", const="", help="look at a docker daemon (default: DOCKER_HOST)"
    )
    parser.add_argument("--aws", metavar="REGION", action="append", default=[], help="look at a region of EC2")
    parser.add_argument("--aws-endpoint", metavar="URL", default="", help="where EC2 is, if not at its own address")
    parser.add_argument(
        "--kubernetes",
        metavar="[CONTEXT/]NAMESPACE",
        nargs="?",
        const="",
        help="look at a namespace of a cluster (default: default, of the current context)",
    )
    parser.add_argument("--gcp", metavar="PROJECT", action="append", default=[], help="look at Compute Engine")
    parser.add_argument("--gcp-endpoint", metavar="URL", default="", help="where it is, if not at its own address")
    parser.add_argument(
        "--history", type=Path, default=_HISTORY, help="the file with the journal of instances (default: %(default)s)"
    )
    parser.add_argument(
        "--boot-grace",
        type=seconds,
        default=BOOT_GRACE_S,
        metavar="SECONDS",
        help="keep what is younger, unless its controller is known to be gone (default: %(default)g)",
    )
    return parser
