"""A server on this machine that answers as the documented APIs of GitHub and GitLab do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "ghs_secret0123456789"
SHA = "abc123" + "0" * 34
NOT_OURS = {"user": {"login": "mallory", "type": "User"}, "author_association": "NONE", "author": {"id": 66}}
OURS = {"user": {"login": "github-actions[bot]", "type": "Bot"}, "author_association": "NONE", "author": {"id": 42}}


@dataclass
class Reply:
    """``status`` 0 closes the connection without an answer. ``is_done``: the request is carried out all the same."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    is_done: bool = False


@dataclass
class Api:
    """What the server knows, was asked, and is told to answer instead: the first reply whose pattern fits."""

    repository: str = "octo/app"
    address: str = ""
    statuses: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    instead: list[tuple[str, Reply]] = field(default_factory=list)
    page_size: int = 100

    def trouble(self, pattern: str, *replies: Reply) -> None:
        self.instead += [(pattern, reply) for reply in replies]

    def bodies(self) -> list[str]:
        return [comment["body"] for comment in self.comments]

    def add_comment(self, body: str, **author: Any) -> dict[str, Any]:
        comment = {"id": 100 + len(self.comments), "body": body, **(author or OURS)}
        self.comments.append(comment)
        return comment

    def answer(self, method: str, target: str, headers: Any, content: Any) -> Reply:
        parts = urlsplit(target)
        self.requests.append(f"{method} {unquote(parts.path)}")
        for place, (pattern, reply) in enumerate(self.instead):
            if re.search(pattern, self.requests[-1]):
                del self.instead[place]
                if reply.is_done:
                    self._carried_out(method, parts.path, {}, headers, content)
                return reply
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self._carried_out(method, parts.path, query, headers, content)

    def _carried_out(self, method: str, path: str, query: dict[str, str], headers: Any, content: Any) -> Reply:
        if path.startswith("/api/v4"):
            return self._gitlab(method, path.removeprefix("/api/v4"), query, headers, content)
        return self._github(method, path, query, headers, content)

    def _github(self, method: str, path: str, query: dict[str, str], headers: Any, content: Any) -> Reply:
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return Reply(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
        at = f"/repos/{self.repository}"
        if not path.startswith(f"{at}/") or headers["X-GitHub-Api-Version"] != "2022-11-28":
            return Reply(404, {"message": "Not Found", "status": "404"})
        if (method, path) == ("POST", f"{at}/statuses/{SHA}"):
            if len(content["description"]) > 140:
                errors = [{"message": "description is too long (maximum is 140 characters)"}]
                return Reply(422, {"message": "Validation Failed", "errors": errors})
            self.statuses.append(content)
            return Reply(201, content)
        if path.startswith(f"{at}/statuses/"):
            return Reply(422, {"message": f"No commit found for SHA: {path.rsplit('/', 1)[1]}"})
        if path == f"{at}/issues/7/comments":
            return self._page(query) if method == "GET" else Reply(201, self.add_comment(content["body"]))
        found = [item for item in self.comments if path == f"{at}/issues/comments/{item['id']}"]
        if method == "PATCH" and found:
            found[0]["body"] = content["body"]
            return Reply(200, found[0])
        return Reply(404, {"message": "Not Found"})

    def _gitlab(self, method: str, path: str, query: dict[str, str], headers: Any, content: Any) -> Reply:
        if headers["PRIVATE-TOKEN"] != TOKEN:
            return Reply(401, {"message": "401 Unauthorized"})
        if path == "/user":
            return Reply(200, {"id": 42})
        at = f"/projects/{self.repository.replace('/', '%2F')}"
        if not path.startswith(f"{at}/"):
            return Reply(404, {"message": "404 Project Not Found"})
        if (method, path) == ("POST", f"{at}/statuses/{SHA}"):
            if any(item["name"] == content["name"] and item["status"] == content["state"] for item in self.statuses):
                why = f'Status cannot transition via "{content["state"]}"'
                return Reply(400, {"message": f"Cannot transition status via :x from :y (Reason(s): {why})"})
            self.statuses = [{**content, "status": content["state"]}]
            return Reply(201, self.statuses[0])
        if path == f"{at}/repository/commits/{SHA}/statuses":
            return Reply(200, [item for item in self.statuses if item["name"] == query["name"]])
        if path == f"{at}/merge_requests/7/notes":
            return self._page(query) if method == "GET" else Reply(201, self.add_comment(content["body"]))
        found = [item for item in self.comments if path == f"{at}/merge_requests/7/notes/{item['id']}"]
        if method == "PUT" and found:
            found[0]["body"] = content["body"]
            return Reply(200, found[0])
        return Reply(404, {"message": "404 Not found"})

    def _page(self, query: dict[str, str]) -> Reply:
        size, page = min(self.page_size, int(query["per_page"])), int(query["page"])
        shown = self.comments[(page - 1) * size : page * size]
        more = page * size < len(self.comments)
        return Reply(200, shown, {"Link": f'<{self.address}/x?page={page + 1}>; rel="next"'} if more else {})


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """Serve the API on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would wait for the client, 40 ms

        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = json.loads(self.rfile.read(length)) if length else None
            reply = api.answer(self.command, self.path, self.headers, content)
            if reply.status == 0:
                self.close_connection = True
                return
            data = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = _reply  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
