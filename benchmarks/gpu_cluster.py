"""How much of a real cluster's gpus can be given out? The workloads of a published trace, against published figures.

    python -m benchmarks.gpu_cluster DATA_DIR [--seeds 42-51] [--batch] [--json] [--jobs N]

DATA_DIR holds ``openb_node_list_gpu_node.csv``, any number of ``openb_pod_list_<workload>.csv`` and, if there is one,
``published_gpu_allocation.csv``. Per seed: the pods shuffled, then more of them drawn with replacement until they ask
for 130 % of the cluster's gpus; one by one in that order, never moved, dropped where they fit nowhere. ``--batch``
sees all of them before it decides. The figure is what was given of all gpus, in per cent.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import os
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drm.resource_optimizer.fleet import Fleet, OnlineAllocator, Placed, Request, TaskTable, Worker, allocate_resources

INFLATION = 1.3
MIB = 2**20
_PODS = "openb_pod_list_"
_NODES, _PUBLISHED = "openb_node_list_gpu_node.csv", "published_gpu_allocation.csv"


class BadDataError(Exception):
    """A file is not what the protocol says; the message names it."""


@dataclass(frozen=True)
class Result:
    workload: str
    gpu_allocation: float
    per_seed: tuple[float, ...]
    published_fgd: float | None


def read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{path}: cannot be read ({error})") from error


def read_fleet(folder: Path) -> Fleet:
    rows = read_rows(folder / _NODES)
    try:
        workers = [
            Worker(
                worker_id=row["sn"],
                cpu_milli=int(row["cpu_milli"]),
                memory_bytes=int(row["memory_mib"]) * MIB,
                gpu_devices=int(row["gpu"]),
                labels=frozenset({row["model"]}),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BadDataError(f"{folder / _NODES}: not a list of nodes ({error!r})") from error
    if not any(worker.gpu_devices for worker in workers):
        raise BadDataError(f"{folder / _NODES}: no node has a gpu")
    return Fleet.of(workers)


def read_pods(path: Path) -> list[Request]:
    try:
        pods = [_request(row) for row in read_rows(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise BadDataError(f"{path}: not a list of pods ({error!r})") from error
    if not any(pod.uses_gpu for pod in pods):
        raise BadDataError(f"{path}: no pod asks for a gpu")
    return pods


def _request(row: dict[str, str]) -> Request:
    devices, milli = int(row["num_gpu"]), int(row["gpu_milli"] or 0)
    models = frozenset(model for model in (row.get("gpu_spec") or "").split("|") if model)
    return Request(
        cpu_milli=int(row["cpu_milli"]),
        memory_bytes=int(row["memory_mib"]) * MIB,
        gpu_devices=devices if devices > 1 else 0,
        gpu_milli=milli if devices == 1 else 0,
        any_labels=models,
    )


def milli(request: Request) -> int:
    return request.gpu_devices * 1000 + request.gpu_milli


def arrivals(pods: Sequence[Request], gpu_milli: int, seed: int) -> list[Request]:
    """Return the pods in the order in which they come."""
    rng = random.Random(seed)
    shuffled = list(pods)
    rng.shuffle(shuffled)
    come, asked = list(shuffled), sum(map(milli, shuffled))
    while asked < INFLATION * gpu_milli:
        come.append(shuffled[rng.randrange(len(shuffled))])
        asked += milli(come[-1])
    return come


def one_by_one(fleet: Fleet, pods: Sequence[Request], come: Sequence[Request]) -> int:
    """Return the thousandths of gpus that are given out, each pod placed as it comes."""
    allocator = OnlineAllocator(fleet, expected={pod: float(count) for pod, count in Counter(pods).items()})
    given = 0
    for number, pod in enumerate(come):
        if isinstance(allocator.allocate(str(number), allocator.intern(pod)), Placed):
            given += milli(pod)
    return given


def all_at_once(fleet: Fleet, come: Sequence[Request]) -> int:
    """Return the thousandths of gpus that are given out, all pods seen before the first is placed."""
    table = TaskTable.of((str(number), pod) for number, pod in enumerate(come))
    return allocate_resources(table, fleet).gpu_milli()


def run(folder: Path, workload: str, seed: int, batch: bool) -> float:
    """Return the per cent of the cluster's gpus that are given out."""
    fleet, pods = read_fleet(folder), read_pods(folder / f"{_PODS}{workload}.csv")
    total = int(fleet.devices.sum())
    come = arrivals(pods, total, seed)
    given = all_at_once(fleet, come) if batch else one_by_one(fleet, pods, come)
    return 100 * given / total


def workloads(folder: Path) -> list[str]:
    found = sorted(path.stem.removeprefix(_PODS) for path in folder.glob(f"{_PODS}*.csv"))
    if not found:
        raise BadDataError(f"{folder}: no {_PODS}<workload>.csv in it")
    return found


def published(folder: Path) -> dict[str, float]:
    path = folder / _PUBLISHED
    if not path.exists():
        return {}
    try:
        return {row["workload"]: float(row["FGD"]) for row in read_rows(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise BadDataError(f"{path}: not a table of workload and FGD ({error!r})") from error


def measure(folder: Path, seeds: Sequence[int], *, batch: bool, jobs: int) -> list[Result]:
    names, known = workloads(folder), published(folder)
    figures: Iterator[float]
    read_fleet(folder)
    for name in names:
        read_pods(folder / f"{_PODS}{name}.csv")
    todo = [(folder, name, seed, batch) for name in names for seed in seeds]
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(min(jobs, len(todo))) as pool:
            figures = iter(pool.starmap(run, todo, chunksize=1))
    else:
        figures = itertools.starmap(run, todo)
    rows = [(name, tuple(next(figures) for _ in seeds)) for name in names]
    return [Result(name, statistics.fmean(each), each, known.get(name)) for name, each in rows]


def seeds_of(text: str) -> list[int]:
    try:
        parts = [part.split("-") for part in text.split(",")]
        seeds = [seed for part in parts for seed in range(int(part[0]), int(part[-1]) + 1)]
    except ValueError:
        seeds = []
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds; write it like 42-51 or 1,2,5")
    return seeds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_cluster", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("42-51"), help="42-51 (default), or 1,2,5")
    parser.add_argument("--batch", action="store_true", help="see all pods before deciding")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    asked = parser.parse_args(arguments)
    try:
        results = measure(asked.folder, asked.seeds, batch=asked.batch, jobs=asked.jobs)
    except BadDataError as error:
        print(f"gpu_cluster: {error}", file=sys.stderr)
        return 2
    show(results, asked.seeds, batch=asked.batch, as_json=asked.json)
    return 0


def show(results: Sequence[Result], seeds: Sequence[int], *, batch: bool, as_json: bool) -> None:
    mode = "batch" if batch else "online"
    if as_json:
        for row in results:
            line = {
                "workload": row.workload,
                "mode": mode,
                "gpu_allocation_percent": round(row.gpu_allocation, 3),
                "published_fgd_percent": row.published_fgd,
                "seeds": list(seeds),
                "per_seed_percent": [round(value, 3) for value in row.per_seed],
            }
            print(json.dumps(line))
        return
    print(f"{'workload':<14} {'GPU allocation %':>17} {'published FGD %':>16} {'difference':>11}   ({mode})")
    for row in results:
        fgd = row.published_fgd
        known = f"{fgd:16.2f} {row.gpu_allocation - fgd:+11.2f}" if fgd is not None else f"{'-':>16}"
        print(f"{row.workload:<14} {row.gpu_allocation:17.2f} {known}")


if __name__ == "__main__":
    sys.exit(main())
