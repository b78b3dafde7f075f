"""What the cloud says to a machine that it will take away: asked of the metadata service, every five seconds.

Only where ``DRM_NOTICES`` says which cloud it is: ``ec2`` or ``gce``, with ``=URL`` where the service is elsewhere.
EC2: docs.aws.amazon.com/AWSEC2/latest/UserGuide, "Spot Instance interruption notices" (two minutes before; to be asked
every five seconds), "EC2 instance rebalance recommendations", and IMDSv2 of "Use the Instance Metadata Service".
GCE: docs.cloud.google.com/compute/docs/instances/create-use-spot, "Handle preemption" (30 seconds before).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

__all__ = ["NoticeWatch", "ec2_notice", "gce_notice", "source_of"]

VARIABLE = "DRM_NOTICES"
_EVERY_S = 5.0
_TIMEOUT_S = 2.0
_TOKEN_S = 21_600
_MOST_BYTES = 4096
_WORDS = 120

Fetch = Callable[[str, str, Mapping[str, str]], "str | None"]


def fetch(url: str, method: str, headers: Mapping[str, str]) -> str | None:
    """Return what is there; None for 404 (no notice), and where nobody answers in time: a notice comes again."""
    from http.client import HTTPException  # few workers ask, and all would load them
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(url, method=method, headers=dict(headers))  # noqa: S310 - of whoever set this machine up
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read(_MOST_BYTES)
            return content.decode(errors="replace")
    except (HTTPError, OSError, HTTPException, ValueError):
        return None


def ec2_notice(base: str, get: Fetch = fetch) -> str:
    """Return why EC2 is about to take this machine, empty where it has not said so."""
    token = get(f"{base}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)})
    if not token:
        return ""
    headers = {"X-aws-ec2-metadata-token": token}
    action = get(f"{base}/latest/meta-data/spot/instance-action", "GET", headers)
    if action:
        return f"spot interruption: {_words(action, 'action', 'time')}"
    advice = get(f"{base}/latest/meta-data/events/recommendations/rebalance", "GET", headers)
    return f"rebalance recommendation: {_words(advice, 'noticeTime')}" if advice else ""


def gce_notice(base: str, get: Fetch = fetch) -> str:
    """Return why Compute Engine is about to take this machine, empty where it has not said so."""
    said = get(f"{base}/computeMetadata/v1/instance/preempted", "GET", {"Metadata-Flavor": "Google"})
    return "spot preemption: the machine is being stopped" if (said or "").strip().upper() == "TRUE" else ""


def _words(text: str, *keys: str) -> str:
    """Return what the JSON says, in one line; the text itself where it is none."""
    found = None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
    if isinstance(found, dict):
        text = " at ".join(str(found[key]) for key in keys if key in found)
    return " ".join(text.split())[:_WORDS] or "announced"


_SOURCES: dict[str, tuple[str, Callable[[str], str]]] = {
    "ec2": ("http://169.254.169.254", ec2_notice),
    "gce": ("http://metadata.google.internal", gce_notice),
}


def source_of(environment: Mapping[str, str]) -> Callable[[], str] | None:
    """Return what asks for a notice; None where no cloud is named, or none that is known."""
    name, _, url = environment.get(VARIABLE, "").partition("=")
    if name not in _SOURCES:
        return None
    base, ask = _SOURCES[name]
    return lambda: ask((url or base).rstrip("/"))


class NoticeWatch:
    """Asks in a thread of its own, so that a service that does not answer holds nothing up.

    ``every_s``: seconds between two questions.
    """

    def __init__(self, source: Callable[[], str], *, every_s: float = _EVERY_S) -> None:
        self._source = source
        self._every_s = every_s
        self._found: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="drm-notices", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.is_set():
            notice = self._source()
            if notice:
                self._found.append(notice)
                return
            self._ended.wait(self._every_s)

    def take(self) -> str:
        """Return the notice, once; empty where there is none."""
        return self._found.pop() if self._found else ""

    def close(self) -> None:
        """Ask no more; a question that is under way is not waited for."""
        self._ended.set()
