"""report.html in a real browser: opened, read pixel by pixel, dragged over, typed into."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
WAIT_S = 30.0  # for what takes a fraction of a second on an idle machine

# Charts are drawn as they come into sight: in the frame after that, or the next.
_FRAMES = "for (let n = 0; n < 3; n++) await new Promise((done) => requestAnimationFrame(done));"
_OF_COLOUR = (
    """async (host, [red, green, blue]) => {
  """
    + _FRAMES
    + """
  const canvas = host.querySelector("canvas"), found = {};
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] !== red || data[at + 1] !== green || data[at + 2] !== blue || data[at + 3] !== 255) continue;
    const x = (at / 4) % canvas.width;
    (found[x] ??= []).push(Math.floor(at / 4 / canvas.width));
  }
  return found;
}"""
)
_AT = (
    """async (host, [x, y]) => { """
    + _FRAMES
    + """ return Array.from(host.querySelector("canvas").getContext("2d").getImageData(x, y, 1, 1).data); }"""
)
_IMAGES = (
    """async () => {
  const [left, top, found] = [scrollX, scrollY, []];
  for (const plot of document.querySelectorAll(".plot")) {
    plot.scrollIntoView({ block: "center" });
    """
    + _FRAMES
    + """
    found.push(plot.querySelector("canvas").toDataURL());
  }
  scrollTo(left, top);
  return found;
}"""
)

Colour = tuple[int, int, int]


def until(what: Callable[[], Any], told: str) -> Any:
    """Return what is found as soon as there is something; fail with what was waited for."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT_S:.0f} s in vain until {told}")


def rgb(colour: str) -> Colour:
    """Return the channels of ``#3f8f66``."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


@dataclass
class Opened:
    """A page that is open. ``requests``: every address it asked for; ``complaints``: what it wrote and threw."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type != "log" else None)

    def go(self, address: str) -> Opened:
        self.page.goto(address)
        self.page.wait_for_selector("html[data-drawn]", state="attached", timeout=WAIT_S * 1000)
        return self

    @property
    def view(self) -> str:
        """Return what part of the run is seen, as the bar says it."""
        return str(self.page.locator(".bar output").inner_text())

    @property
    def hash(self) -> str:
        return str(self.page.evaluate("() => location.hash"))

    def colour(self, name: str) -> Colour:
        """Return a colour of the style sheet."""
        told = self.page.evaluate(
            "(name) => getComputedStyle(document.documentElement).getPropertyValue(name)", f"--{name}"
        )
        return rgb(told.strip())

    def plot(self, label: str) -> Plot:
        return Plot(self, self.page.get_by_role("slider", name=label))

    def images(self) -> list[str]:
        """Return every chart as it is drawn where it is seen."""
        return list(self.page.evaluate(_IMAGES))


@dataclass
class Plot:
    """One chart over time. Places are CSS pixels from its corner; the browser has one device pixel for each."""

    opened: Opened
    root: Any

    def __post_init__(self) -> None:
        width = round(self.place()["width"])
        self.left, self.right = 78 if width < 600 else 116, width - 14

    def place(self) -> dict[str, float]:
        self.root.scroll_into_view_if_needed()
        return dict(self.root.bounding_box())

    def x(self, at_s: float, whole_s: float) -> int:
        """Return where a moment is while all of the run is seen."""
        return round(self.left + (self.right - self.left) * at_s / whole_s)

    def drawn_in(self, name: str) -> dict[int, list[int]]:
        """Return where a colour of the style sheet is drawn: by column, the rows."""
        found = self.root.evaluate(_OF_COLOUR, list(self.opened.colour(name)))
        return {int(x): rows for x, rows in found.items()}

    def at(self, x: int, y: int) -> Colour:
        """Return the colour of one pixel."""
        red, green, blue, _ = self.root.evaluate(_AT, [x, y])
        return red, green, blue

    def drag(self, first: float, last: float) -> None:
        """Drag from one share of the time axis to another, the mouse a person's."""
        box, mouse = self.place(), self.opened.page.mouse
        y = box["y"] + box["height"] / 2
        start, end = (box["x"] + self.left + (self.right - self.left) * share for share in (first, last))
        mouse.move(start, y)
        mouse.down()
        mouse.move((start + end) / 2, y)
        mouse.move(end, y)
        mouse.up()
