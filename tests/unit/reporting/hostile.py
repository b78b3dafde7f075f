"""Names that a test can give itself, and readers that take a format as its consumer does."""

from __future__ import annotations

import html.parser
import re
from typing import Any

MB = 2**20
NAMES = {
    "end of cdata": "]]>",
    "xml entity": "&xxe; &#64;octocat &lt;b&gt;",
    "newlines": "a\nb\r\n## head\n\n- item\n\n/close",
    "set-output": "::set-output name=x::y",
    "error command": "x\n::error::injected",
    "error command after a carriage return": "x\r::error::injected",
    "error command after a line separator": "x\u2028::error::injected\x85::error::injected",
    "old command": "##[error]injected ##[set-output name=x]y #\x00#[error]injected",
    "escaped command": "%0A::error::injected %25 %3A%2C",
    "properties": "x,line=7,file=/etc/passwd::injected",
    "script": "<script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "image": "</style><img src=x onerror=alert(1)>",
    "comment": "--> <!-- drm ci status: DRM tests --> <!--",
    "table": "| pipe | \\| pipe \\\\| x",
    "link": "[link](http://example.com) ![image](http://example.com/x.png) <http://example.com>",
    "address": "www.example.com WWW.example.com https://example.com mailto:a@example.com a@example.com",
    "mention": "@octocat @github/team #12 !12 GH-12 octo/app#12 octo/app!12",
    "emphasis": "*bold* __init__ ~~x~~ $x$ `tick` ``two`` \\",
    "template": "{{ 7 * 7 }} {% raw %} ${{ secrets.TOKEN }} $(id)",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x1b[2J",
    "invisible": "\u202etfel\u202c\u200b\x00\x7f \ud800",
    "one megabyte": "x" * MB,
    "one megabyte of pipes": "|" * MB,
    "one megabyte of lines": "::error::injected\n" * (MB // 18),
    "one megabyte of markup": "<b>`*" * (MB // 5),
}


def commands(log: str) -> list[tuple[str, dict[str, str], str]]:
    """Return the commands that GitHub's runner sees in a log (actions/runner, ActionCommand.cs)."""
    found = []
    for line in re.split(r"\r\n|\n|\r", log):
        trimmed = line.lstrip()
        new = re.match(r"::(\S+?)(?: (.*?))?::(.*)", trimmed, re.DOTALL)
        old = re.search(r"##\[(\S+?)(?: (.*?))?\](.*)", line, re.DOTALL)
        if new:
            pairs = (pair.partition("=")[::2] for pair in (new[2] or "").split(",") if pair)
            found.append((new[1], {key: _plain(value) for key, value in pairs}, _plain(new[3])))
        elif old:
            found.append((old[1], {}, old[3]))
    return found


def _plain(text: str) -> str:
    for escaped, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escaped, letter)
    return text


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: its tags, its attributes, and its text outside of code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self.text = ""
        self._code = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._code += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())


def rendered(markdown: str) -> Page:
    """Return what GitHub's own Markdown parser makes of a text."""
    from cmarkgfm import github_flavored_markdown_to_html
    from cmarkgfm.cmark import Options

    unsafe: Any = Options.CMARK_OPT_UNSAFE  # HTML is let through: a sanitizer must have nothing to do
    return Page(github_flavored_markdown_to_html(markdown, options=unsafe))
