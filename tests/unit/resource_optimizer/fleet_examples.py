"""Small fleets and requests for hypothesis, and the same decisions by loops."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hypothesis import strategies as st

from drm.resource_optimizer.fleet import Request, Worker


def load(name: str) -> ModuleType:
    """Return a module of the benchmarks, by its path: they are no part of the distribution."""
    path = Path(__file__).parents[3] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    spec.loader.exec_module(module)
    return module


naive = load("naive")
LABELS = ("cuda", "ssd", "x86")


def workers(*, gpus: bool = True, most: int = 6) -> st.SearchStrategy[list[Worker]]:
    one = st.builds(
        lambda cpu, memory, devices, memory_of_one, licences, labels: {
            "cpu_milli": cpu,
            "memory_bytes": memory,
            "gpu_devices": devices,
            "gpu_memory_bytes": memory_of_one if devices else 0,
            "resources": (("licence", licences),) if licences else (),
            "labels": labels,
        },
        st.sampled_from([1000, 2000, 2500, 4000]),
        st.integers(0, 12),
        st.sampled_from([0, 0, 1, 2, 4] if gpus else [0]),
        st.sampled_from([0, 8, 16]),
        st.integers(0, 2),
        st.frozensets(st.sampled_from(LABELS)),
    )
    return st.lists(one, max_size=most).map(
        lambda rows: [Worker(worker_id=f"w{number}", **row) for number, row in enumerate(rows)]
    )


def requests(*, gpus: bool = True, special: bool = True) -> st.SearchStrategy[Request]:
    gpu = st.sampled_from(
        [{}, {}, {"gpu_devices": 1}, {"gpu_devices": 2}, {"gpu_milli": 300}, {"gpu_milli": 500}, {"gpu_milli": 1000}]
        if gpus
        else [{}]
    )
    extra = st.fixed_dictionaries(
        {},
        optional={
            "resources": st.just((("licence", 1),)),
            "all_labels": st.frozensets(st.sampled_from(LABELS), max_size=2),
            "any_labels": st.frozensets(st.sampled_from(LABELS), max_size=2),
            "locks": st.sampled_from([(), ("db",), ("db", "port")]),
            "group": st.sampled_from([None, None, "g"]),
            "priority": st.integers(0, 2),
        },
    )
    return st.builds(
        lambda cpu, memory, gpu, extra: Request(cpu_milli=cpu, memory_bytes=memory, **gpu, **extra),
        st.integers(1, 12).map(lambda steps: 250 * steps),
        st.integers(0, 6),
        gpu,
        extra if special else st.just({}),
    )
