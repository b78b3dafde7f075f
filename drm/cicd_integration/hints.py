"""What a test probably needs that nobody has measured or said: by what it imports, its fixtures and its marks.

Round figures, on the large side; the first measured run takes the place of those for memory. A run reserves
nothing for a hint: it is for who plans workers, and for who writes the marks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["HINTS", "Hint", "hints_of"]

_MIB = 2**20
_BROWSER = "it starts a browser, whose processes are counted with the test"
_TENSORS = "tensors, and on a gpu a CUDA context"
_JVM = "it starts a Java virtual machine"
_DEVICE = "it does nothing without a device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One sign. ``kind``: ``import`` (in the test's file), ``fixture`` or ``other_mark`` (than ours).

    ``names``: any of them is the sign.
    """

    kind: str
    names: frozenset[str]
    because: str
    memory_bytes: int = 0
    gpus: float = 0.0


HINTS: tuple[Hint, ...] = (
    Hint(
        kind="fixture",
        names=frozenset({"browser", "selenium", "webdriver", "chrome_driver", "firefox_driver"}),
        memory_bytes=1024 * _MIB,
        because=_BROWSER,
    ),
    Hint(
        kind="fixture",
        names=frozenset({"spark", "spark_session", "spark_context"}),
        memory_bytes=2048 * _MIB,
        because=_JVM,
    ),
    Hint(kind="fixture", names=frozenset({"gpu", "cuda", "cuda_device"}), gpus=1.0, because=_DEVICE),
    Hint(
        kind="other_mark",
        names=frozenset({"gpu", "cuda", "needs_gpu", "requires_gpu"}),
        gpus=1.0,
        because="the mark says so",
    ),
    Hint(
        kind="import",
        names=frozenset({"selenium", "playwright", "splinter", "pyppeteer"}),
        memory_bytes=1024 * _MIB,
        because=_BROWSER,
    ),
    Hint(kind="import", names=frozenset({"pyspark"}), memory_bytes=2048 * _MIB, because=_JVM),
    Hint(
        kind="import",
        names=frozenset({"torch", "tensorflow", "jax", "keras"}),
        memory_bytes=1024 * _MIB,
        because=_TENSORS,
    ),
    Hint(
        kind="import",
        names=frozenset({"transformers", "diffusers"}),
        memory_bytes=2048 * _MIB,
        because="it may load a model",
    ),
    Hint(
        kind="import",
        names=frozenset({"cupy", "cudf", "cuml", "pycuda", "tensorrt"}),
        memory_bytes=1024 * _MIB,
        gpus=1.0,
        because=_DEVICE,
    ),
)


def hints_of(
    fixtures: Collection[str], marks: Collection[str], libraries: Collection[str]
) -> tuple[tuple[Hint, str], ...]:
    """Return the hints that a test gives, each with the name that is the sign, in the order of the table."""
    there: dict[str, Iterable[str]] = {"fixture": fixtures, "other_mark": marks, "import": libraries}
    found = ((hint, sorted(hint.names.intersection(there[hint.kind]))) for hint in HINTS)
    return tuple((hint, names[0]) for hint, names in found if names)
