"""Where a run happens: what the provider's variables say of branch, commit, pull request and links.

Pure: the environment is given, and so is GitHub's event. Every value is what the provider said: anybody can
name a branch, so whoever shows one escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from drm.cicd_integration.provider_table import OVERRIDES, PROVIDERS, Provider, Row

__all__ = ["Context", "detect"]

_NAMED = re.compile(r"\{(\w+)\}")
_MOST_CHARACTERS = 4096
_TRUE = ("true", "1", "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of the job; None is not known.

    ``provider``: ``github``, ``gitlab``, ``jenkins`` or ``generic``. ``branch``: of a pull or merge request, its own.
    ``sha``: the commit to report on; of a pull request its head, where that is known. ``request_number``: of the
    pull or merge request. ``is_fork``: it comes from another repository, whose code must not see secrets; None when
    that is not known, which is no leave to trust it. ``repository``: ``owner/name`` as the API at ``api_url`` knows it.
    The links are http or https.
    """

    provider: str
    branch: str | None = None
    target_branch: str | None = None
    default_branch: str | None = None
    tag: str | None = None
    sha: str | None = None
    is_pr: bool = False
    is_fork: bool | None = None
    request_number: int | None = None
    actor: str | None = None
    repository: str | None = None
    api_url: str | None = None
    run_url: str | None = None
    artifacts_url: str | None = None
    commit_url: str | None = None
    request_url: str | None = None

    @property
    def is_default_branch(self) -> bool | None:
        """Tell whether the default branch itself is built, not a request to change it; None when not known."""
        if self.is_pr or self.tag is not None:
            return False
        if self.branch is None or self.default_branch is None:
            return None
        return self.branch == self.default_branch


def detect(environ: Mapping[str, str], event: Mapping[str, Any] | None = None) -> Context:
    """Return what ``environ`` says of the job: the first provider whose sign is there, else ``generic``.

    ``event``: the payload that GitHub writes to ``GITHUB_EVENT_PATH``. ``DRM_CI_...`` variables win over the
    provider's (``provider_table.OVERRIDES``). A value that cannot be what it should be counts as not known.
    """
    provider = next((row for row in PROVIDERS if row.is_here(environ)), PROVIDERS[-1])
    values = _Values(environ, event or {}, provider)
    number = values.text("request_number")
    is_pr = values.flag("is_pr") or False
    tag = values.text("tag")
    return Context(
        provider=provider.name,
        branch=values.text("branch") if tag is None else None,
        target_branch=values.text("target_branch"),
        default_branch=values.text("default_branch"),
        tag=tag,
        sha=values.text("sha"),
        is_pr=is_pr or number is not None,
        is_fork=values.flag("is_fork") if is_pr or number is not None else False,
        request_number=int(number) if number else None,
        actor=values.text("actor"),
        repository=values.text("repository"),
        **{name: values.link(name) for name in ("api_url", "run_url", "artifacts_url", "commit_url", "request_url")},
    )


class _Values:
    """The rows of one provider, looked up."""

    def __init__(self, environ: Mapping[str, str], event: Mapping[str, Any], provider: Provider) -> None:
        self._environ = environ
        self._event = event
        self._rows = (*OVERRIDES, *provider.rows)

    def text(self, field: str) -> str | None:
        return next((text for row in self._rows if row.field == field and (text := self._of(row, quoted=False))), None)

    def link(self, field: str) -> str | None:
        """Return the first value that is an http(s) address, without credentials."""
        for row in self._rows:
            text = self._of(row, quoted=True) if row.field == field else None
            if text and (link := _clean(text)):
                return link
        return None

    def flag(self, field: str) -> bool | None:
        """Return what the rows say: ``true`` or ``false`` in words, or whether two values differ."""
        for row in self._rows:
            if row.field != field:
                continue
            if row.differs_from:
                ours, others = self._lookup(row.value), self._lookup(row.differs_from)
                if ours is not None and others is not None:
                    return ours != others
            elif (text := self._of(row, quoted=False)) is not None:
                return row.means or text.lower() in _TRUE
        return None

    def _of(self, row: Row, *, quoted: bool) -> str | None:
        if row.only_if and self._lookup(row.only_if[0]) != row.only_if[1]:
            return None
        if "{" in row.value:
            return self._filled(row.value, quoted=quoted)
        value = self._lookup(row.value)
        if value is None or not row.pattern:
            return value
        match = re.fullmatch(row.pattern, value)
        return (match.group(1) if match.groups() else value) if match else None

    def _filled(self, template: str, *, quoted: bool) -> str | None:
        """Return the template with every name replaced; None if one of them is not known."""
        values: dict[str, str] = {}
        for name in _NAMED.findall(template):
            value = self.text(name) if name.islower() else self._lookup(name)
            if value is None:
                return None
            values[name] = value.rstrip("/") if "://" in value else quote(value, safe="/") if quoted else value
        return _NAMED.sub(lambda match: values[match.group(1)], template)

    def _lookup(self, name: str) -> str | None:
        """Return a variable, or for ``event.a.b`` what the event has there; None for nothing and for far too much."""
        if not name.startswith("event."):
            value: Any = self._environ.get(name)
        else:
            value = self._event
            for key in name.split(".")[1:]:
                value = value.get(key) if isinstance(value, Mapping) else None
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value) if 0 <= value < 10**18 else None
        if not isinstance(value, str) or not value.strip() or len(value) > _MOST_CHARACTERS:
            return None
        return value.strip()


def _clean(address: str) -> str | None:
    """Return an http(s) address without a name and a password, and with nothing in it that ends a line or a quote."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
        return None
    place = f"[{host}]" if ":" in host else host
    netloc = f"{place}:{port}" if port else place
    kept = "/:@!$&*+,;=~%?#-._"
    return quote(parts._replace(netloc=netloc).geturl(), safe=kept if ":" not in host else kept + "[]")
