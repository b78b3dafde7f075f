"""A client of a provider's HTTP API: few retries, bounded patience, and a token that is never shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from drm.cicd_integration.answers import Answer, UnreachableError, backoff_s, wait_s
from drm.model.errors import ConfigError, ThrottledError

__all__ = ["Client", "check_token"]

_ATTEMPTS = 4
_PATIENCE_S = 120.0  # in all; a job that is paid by the minute waits for no hourly limit
_TIMEOUT_S = 20.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


def check_token(name: str, token: str) -> str:
    """Return the token without the spaces around it; ConfigError, which does not show it, if it can be none."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{name} holds what no token has (spaces or control characters)", remedy="set it anew")
    return token


class Client:
    """Sends requests to one API. Follows no redirect: a token goes nowhere but to the host that was named.

    ``secret``: the token, taken out of whatever is told. ``pause`` and ``utc``: time, as arguments.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        secret: str,
        pause: Callable[[float], None],
        utc: Callable[[], datetime],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            remedy = "python -m pip install 'drm-testing[ci]'"
            raise ConfigError("httpx is not installed: nothing can be published", remedy=remedy) from error
        self._httpx = httpx
        try:
            self._http = httpx.Client(
                headers=dict(headers),
                timeout=_TIMEOUT_S,
                follow_redirects=False,
                verify=not base_url.startswith("http://"),  # there is nothing to verify: no certificates are loaded
            )
        except (httpx.InvalidURL, ValueError, OSError) as error:  # of HTTPS_PROXY, SSL_CERT_FILE and the like
            why = f"the job's proxy or certificates cannot be used ({type(error).__name__})"
            raise ConfigError(why, remedy="see to HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE") from None
        self._base_url = base_url.rstrip("/")
        self._secret = secret
        self._pause = pause
        self._utc = utc
        self._patience_s = patience_s

    @property
    def host(self) -> str:
        return urlsplit(self._base_url).netloc

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, method: str, path: str, *, repeatable: bool = True, **content: Any) -> Answer:
        """Return the answer, after as many attempts as are due. ``content``: httpx's ``json`` and ``params``.

        ``repeatable``: a request that may have been carried out may be sent again. Raises UnreachableError without
        an answer, ThrottledError where the wait asked for is longer than our patience.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._answer(self._http.request(method, self._base_url + path, **content))
                delay = wait_s(answer, attempt=attempt, now=self._utc())
                if delay is None or attempt == _ATTEMPTS or not (repeatable or answer.is_throttled):
                    return answer
                if delay > self._patience_s:
                    wants = f"asks to wait {delay:.0f} s ({answer.status} {answer.message})"
                    raise ThrottledError(f"{self.host} {wants}", remedy="run the job again later")
            except self._httpx.TransportError as error:
                unsent = (self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.PoolTimeout)
                delay = backoff_s(attempt)
                if attempt == _ATTEMPTS or delay > self._patience_s or not (repeatable or isinstance(error, unsent)):
                    raise self._lost(error) from None
            except (self._httpx.InvalidURL, ValueError) as error:  # ValueError: a header that cannot be sent
                raise ConfigError(f"{self._base_url} is no address of an API ({type(error).__name__})") from None
            self._patience_s -= delay
            self._pause(delay)
        raise AssertionError("unreachable")

    def _lost(self, error: Exception) -> UnreachableError:
        why = self._without_secret(f"{type(error).__name__}: {error}".strip(": "))
        return UnreachableError(f"{self.host} cannot be reached ({why})", remedy="see to the job's network and proxy")

    def _answer(self, response: Any) -> Answer:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        return Answer(
            status=response.status_code,
            headers={name.lower(): self._without_secret(value) for name, value in response.headers.items()},
            body=self._scrubbed(body) if response.status_code >= 300 else body,
            has_next="next" in response.links,
        )

    def _scrubbed(self, body: Any) -> Any:
        """Return an error's body without the token, should the server repeat it."""
        if isinstance(body, dict):
            return {key: self._scrubbed(value) for key, value in body.items()}
        if isinstance(body, list):
            return [self._scrubbed(item) for item in body]
        return self._without_secret(body) if isinstance(body, str) else body

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text
