"""The queue of waiting tests: whatever happens, each is handed out once at a time, within what is free."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drm.model.claims import Claims, claims_of, is_serial, there_is
from drm.model.resources import Requirements, Resources
from drm.model.work import Forecast, Task
from drm.resource_optimizer.kinds import QueueSettings, Room
from drm.resource_optimizer.queue import BATCH_S, Batch, WorkQueue

GIB = 2**30
MACHINE = Resources(cpu_cores=4, memory_bytes=8 * GIB, gpus=1)
ALL_LABELS = frozenset({"gpu", "ssd"})
COUNTED = {"license": 2}
DB, READ_DB = claims_of(locks=["db"]), claims_of(shared_locks=["db"])
BOTH = claims_of(locks=["net"], shared_locks=["db"])
SERIAL = claims_of(serial=True)
LICENSE, LICENSES = claims_of(counted={"license": 1}), claims_of(counted={"license": 2})
MARKED = (("memory", "marker"),)


def task(name: str, *, seconds: float = 0.01, position: int = 0, scope: str = "m", **requirements: object) -> Task:
    amounts = Resources(
        cpu_cores=float(requirements.pop("cpu", 1)),  # type: ignore[arg-type]
        memory_bytes=int(requirements.pop("memory", 0)),  # type: ignore[call-overload]
        gpus=float(requirements.pop("gpu", 0)),  # type: ignore[arg-type]
    )
    return Task(
        task_id=f"{scope}::{name}",
        scope=scope,
        position=position,
        requirements=Requirements(amounts=amounts, **requirements),  # type: ignore[arg-type]
        forecast=Forecast(wall_s=seconds, memory_bytes=amounts.memory_bytes),
    )


def queue_of(*tasks: Task, largest: Resources = MACHINE, **settings: Any) -> WorkQueue:
    seconds = {each.task_id: each.expected_s for each in tasks}
    queue = WorkQueue(lambda task_id, _: seconds[task_id], QueueSettings(largest=largest, **settings))
    queue.add(tasks)
    return queue


def names(batch: Batch | None) -> list[str]:
    return [each.task_id.partition("::")[2] for each in batch.tasks] if batch is not None else []


def room(free: Resources = MACHINE, labels: frozenset[str] = ALL_LABELS) -> Room:
    return Room(free=free, whole=MACHINE, labels=labels)


def take(queue: WorkQueue, executor: str = "gw0", free: Resources = MACHINE, share: int = 1) -> Batch | None:
    """Let the executor end what it has, and take what comes next."""
    queue.release(executor)
    return queue.take(executor, room(free), share=share)


# -- what an executor is given


def test_short_tests_travel_together_and_long_ones_alone() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=BATCH_S / 5, position=n) for n in range(40)), task("long", seconds=9))
    assert names(take(queue)) == ["long"]
    assert names(take(queue)) == ["t0", "t1", "t2", "t3", "t4"]


def test_batches_shrink_so_that_near_the_end_all_have_work() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=0.01) for n in range(16)))
    sizes = [len(take(queue, f"gw{n % 2}", share=2).tasks) for n in range(6)]  # type: ignore[union-attr]
    assert sizes == [4, 3, 2, 1, 1, 1]


@pytest.mark.parametrize("seconds", [(0.09, 0.05), (0.05, 0.09), (0.09, 0.03, 0.03), (0.03, 0.09, 0.02), (5.0,)])
def test_a_lane_behind_a_bottleneck_is_cut_into_parts_that_all_hold_something(seconds: tuple[float, ...]) -> None:
    """Few workers have a gpu, many executors wait: the last test of a part may be longer than all before it."""
    tasks = [task(f"t{n}", seconds=each, position=n, gpu=0.25) for n, each in enumerate(seconds)]
    queue = queue_of(*tasks, executors=50)
    assert sorted(each.task_id for each in queue) == sorted(each.task_id for each in tasks)
    given = [name for n in range(len(tasks)) for name in names(queue.take(f"e{n}", room(), share=50))]
    assert sorted(given) == sorted(f"t{n}" for n in range(len(tasks)))


def test_too_little_to_set_fixtures_up_twice_for_is_not_split() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=0.001) for n in range(4)))
    assert names(take(queue, share=4)) == ["t0"]
    assert take(queue, "gw1", share=4) is None
    assert names(take(queue, share=4)) == ["t1"]


def test_the_longest_module_first_and_an_executor_stays_in_its_module() -> None:
    queue = queue_of(
        *(task(f"a{n}", scope="a", seconds=0.06) for n in range(2)),
        *(task(f"b{n}", scope="b", seconds=0.06) for n in range(5)),
    )
    first, second, third = take(queue), take(queue, "gw1"), take(queue)
    assert (names(first), names(second), names(third)) == (["b0"], ["a0"], ["b1"])
    assert first is not None
    assert first.next_task == "b::b1"


def test_who_has_nothing_left_takes_the_far_half_of_the_longest() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=0.06, position=n) for n in range(9)))
    assert names(take(queue)) == ["t0"]
    assert names(take(queue, "gw1")) == ["t5"]
    rest = [names(take(queue, executor))[0] for executor in ("gw0", "gw0", "gw0", "gw1", "gw1", "gw1")]
    assert rest == ["t1", "t2", "t3", "t6", "t7", "t8"]


def test_more_gives_what_the_reservation_covers() -> None:
    queue = queue_of(
        *(task(f"t{n}", seconds=0.06) for n in range(2)),
        task("u", scope="other", seconds=0.06),
        task("small", scope="third", seconds=0.06, cpu=0.5),
    )
    assert queue.more("gw0", share=1) is None, "nothing is reserved yet"
    assert names(take(queue)) == ["t0"]
    assert names(queue.more("gw0", share=1)) == ["t1"]
    assert names(queue.more("gw0", share=1)) == ["u"], "another module that asks for the same"
    assert queue.more("gw0", share=1) is None, "this one asks for something else"


def test_first_what_few_workers_can_run_then_what_takes_longest_in_one_piece() -> None:
    queue = queue_of(
        task("long", scope="a", seconds=0.4),
        *(task(f"two{n}", scope="b", seconds=0.05, cpu=2) for n in range(20)),
        *(task(f"db{n}", scope="c", seconds=0.05, claims=DB) for n in range(12)),
        *(task(f"plain{n}", scope="d", seconds=0.05) for n in range(30)),
        task("label", scope="e", labels=frozenset({"ssd"})),
        task("gpu", scope="f", gpu=1),
        executors=4,
    )
    first = [names(take(queue, f"gw{n}"))[0] for n in range(6)]
    assert first == ["gpu", "label", "db0", "two0", "two10", "long"]


def test_what_became_urgent_goes_before_the_rest_of_a_module() -> None:
    queue = queue_of(
        *(task(f"db{n}", scope="a", seconds=0.5, claims=DB) for n in range(3)),
        *(task(f"t{n}", scope="b", seconds=0.05) for n in range(9)),
        executors=2,
    )
    assert names(take(queue)) == ["db0"]
    assert names(take(queue, "gw1")) == ["t0"]
    assert names(queue.more("gw1", share=2)) == ["t1"]
    queue.leave("gw0")  # it died, and the lock with it
    queue.release("gw0")
    assert queue.more("gw1", share=2) is None, "the chain behind the lock would end the run"
    assert names(take(queue, "gw1")) == ["db1"]


def test_file_order_is_kept_if_asked_for() -> None:
    tasks = [task(f"t{n}", scope=f"m{n // 4}", seconds=n, position=n, cpu=1 + n % 2) for n in range(12)]
    queue = queue_of(*tasks, executors=4, file_order=True)
    assert [names(take(queue, f"gw{n}")) for n in range(3)] == [["t0"], ["t1"], ["t4"]]
    assert [names(take(queue)), names(take(queue)), names(take(queue))] == [["t2"], ["t5"], ["t7"]]


# -- what it is not given


def test_nothing_that_does_not_fit() -> None:
    queue = queue_of(task("a", cpu=2, memory=GIB), task("b", labels=frozenset({"gpu"})))
    narrow = room(Resources(cpu_cores=1, memory_bytes=8 * GIB), frozenset())
    assert queue.take("gw0", narrow, share=1) is None
    assert not queue.startable(narrow, most=9)
    assert queue.startable(room(Resources(cpu_cores=1), frozenset({"gpu"})), most=9)
    assert len(queue) == 2


def test_predicted_memory_is_rounded_up_but_stated_memory_is_not() -> None:
    odd = 100 * 2**20 + 1
    stated = task("stated", memory=odd, sources=(("memory", "marker"),))
    (batch,) = filter(None, [take(queue_of(stated))])
    assert batch.amounts.memory_bytes == odd
    (batch,) = filter(None, [take(queue_of(task("predicted", memory=odd)))])
    assert batch.amounts.memory_bytes == 128 * 2**20
    small = Resources(cpu_cores=4, memory_bytes=110 * 2**20)
    (batch,) = filter(None, [take(queue_of(task("large", memory=odd), largest=small), free=small)])
    assert batch.amounts.memory_bytes == odd, "rounding takes no good part of a small worker"
    (batch,) = filter(None, [take(queue_of(task("small", memory=2**20), largest=small), free=small)])
    assert batch.amounts.memory_bytes == 4 * 2**20
    tiny = Resources(cpu_cores=4, memory_bytes=16 * 2**20)
    (batch,) = filter(None, [take(queue_of(task("least", memory=1), largest=tiny), free=tiny)])
    assert batch.amounts.memory_bytes == 2**20, "no step is smaller"
    nothing = Resources(cpu_cores=4)
    assert take(queue_of(task("any", memory=1), largest=nothing), free=nothing) is None


def test_what_could_start_side_by_side() -> None:
    def startable(queue: WorkQueue, memory: int = 8, cpu: float = 8, most: int = 99) -> int:
        free = Resources(cpu_cores=cpu, memory_bytes=memory * GIB)
        return queue.startable(room(free, frozenset()), most=most)

    plain = queue_of(*(task(f"t{n}", memory=GIB, sources=MARKED) for n in range(20)))
    assert startable(plain) == 4, "as many as the largest worker has cores"
    assert (startable(plain, most=3), startable(plain, memory=2), startable(plain, cpu=1.5)) == (3, 2, 1)
    locked = queue_of(*(task(f"t{n}", claims=DB) for n in range(5)), task("group", group="g"), task("next", group="g"))
    assert startable(locked) == 2
    mixed = queue_of(task("large", memory=6 * GIB, sources=MARKED), *(task(f"t{n}") for n in range(3)))
    assert (startable(mixed), startable(mixed, memory=1)) == (4, 3)


def test_a_test_that_is_tried_again_stays_the_next_when_others_are_revised() -> None:
    others = [task(f"t{n}", scope="a", seconds=1.0, memory=2**20) for n in range(4)]
    again = task("again", scope="a", position=99, memory=2**20)
    queue = queue_of(*others, again)
    assert [names(take(queue)) for _ in range(5)][-1] == ["again"], "the shortest last"
    queue.add(others)
    queue.add([again], soon=True)
    larger = Resources(cpu_cores=1, memory_bytes=GIB)
    queue.revise(lambda some: [dataclasses.replace(each, requirements=Requirements(amounts=larger)) for each in some])
    assert names(take(queue)) == ["again"]


def test_revised_tests_move_and_none_is_lost() -> None:
    tasks = [task(f"t{n}", scope="ab"[n % 2], memory=2**20) for n in range(10)]
    queue = queue_of(*tasks)
    held = take(queue)
    assert held is not None
    larger = Resources(cpu_cores=1, memory_bytes=2 * GIB)
    calls: list[list[str]] = []

    def revised(some: Sequence[Task]) -> list[Task]:
        calls.append([each.task_id for each in some])
        return [dataclasses.replace(each, requirements=Requirements(amounts=larger)) for each in some]

    queue.revise(revised, "b")
    waiting = {each.task_id: each for each in queue}
    assert len(queue) == len(waiting) == 10 - len(held.tasks)
    assert {each.scope for each in waiting.values() if each.requirements.amounts == larger} == {"b"}
    assert all(each.requirements.amounts == larger for each in waiting.values() if each.scope == "b")
    assert sorted(name for call in calls for name in call) == sorted(
        each.task_id for each in waiting.values() if each.scope == "b"
    )
    queue.revise(lambda some: list(some))
    assert {each.task_id for each in queue} == set(waiting)
    taken = [take(queue, f"gw{n % 2}") for n in range(30)]
    assert {name for batch in taken for name in names(batch)} | set(names(held)) == {
        each.task_id.partition("::")[2] for each in tasks
    }
    assert len(queue) == 0


def test_one_lock_one_holder() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=0.06, claims=DB) for n in range(3)))
    assert names(take(queue)) == ["t0"]
    assert queue.more("gw0", share=1) is None
    assert take(queue, "gw1") is None
    assert not queue.startable(room(), most=9)
    queue.release("gw0")
    assert names(take(queue, "gw1")) == ["t2"]
    assert take(queue) is None


def test_many_share_a_lock_and_nobody_has_it_for_himself_meanwhile() -> None:
    queue = queue_of(
        task("write", seconds=0.04, scope="w", claims=DB),
        *(task(f"read{n}", seconds=0.04, scope=f"r{n}", claims=READ_DB) for n in range(4)),
    )
    assert names(take(queue)) == ["write"], "who wants it alone goes first"
    assert take(queue, "gw1") is None
    assert names(take(queue)) == ["read0"]
    assert names(take(queue, "gw1")) == ["read1"]
    queue.add([task("again", seconds=0.04, scope="w", claims=DB)])
    assert take(queue, "gw2") is None


def test_readers_do_not_starve_a_writer() -> None:
    readers = [task(f"read{n}", seconds=0.02, scope=f"r{n}", claims=READ_DB) for n in range(50)]
    writer = task("write", seconds=0.02, scope="w", claims=DB)
    queue = queue_of(*readers, writer, task("long", seconds=9, scope="l", claims=READ_DB), file_order=True)
    assert names(take(queue)) == ["read0"]
    assert names(take(queue, "gw1")) == [], "the readers that follow would keep the writer out"
    assert names(take(queue)) == ["read1"], "once nobody reads, the order decides"


def test_a_long_reader_lets_others_read_meanwhile() -> None:
    queue = queue_of(
        task("long", seconds=9, scope="l", claims=READ_DB),
        task("read", seconds=0.02, scope="r", claims=READ_DB),
        task("write", seconds=0.02, scope="w", claims=DB),
        file_order=True,
    )
    assert names(take(queue)) == ["long"]
    assert names(take(queue, "gw1")) == ["read"], "to wait for the long one would cost more"


def test_all_locks_of_a_test_are_taken_at_once() -> None:
    queue = queue_of(
        task("both", seconds=0.5, scope="a", claims=claims_of(locks=["db", "net"])),
        task("db", seconds=0.4, scope="b", claims=DB),
        task("net", seconds=0.3, scope="c", claims=claims_of(locks=["net"])),
        task("disk", seconds=0.2, scope="d", claims=claims_of(locks=["disk"])),
        executors=4,
    )
    assert names(take(queue)) == ["both"]
    assert names(take(queue, "gw1")) == ["disk"]
    assert take(queue, "gw2") is None
    queue.release("gw0")
    assert names(take(queue, "gw2")) == ["db"]
    assert names(take(queue, "gw3")) == ["net"]


def test_no_more_of_a_counted_resource_than_there_is() -> None:
    tasks = [task(f"t{n}", seconds=0.06, scope=f"m{n}", claims=claims_of(counted={"license": 1})) for n in range(4)]
    queue = queue_of(*tasks, task("plain", seconds=0.01), counted={"license": 2})
    assert [names(take(queue, f"gw{n}")) for n in range(4)] == [["t0"], ["t1"], ["plain"], []]
    queue.release("gw1")
    assert names(take(queue, "gw3")) == ["t2"]


@pytest.mark.parametrize("file_order", [False, True])
def test_one_serial_test_has_the_run_to_itself_after_all_others(file_order: bool) -> None:
    queue = queue_of(
        *(task(f"alone{n}", seconds=3, scope="s", claims=SERIAL, position=n) for n in range(2)),
        *(task(f"t{n}", seconds=0.06, scope=f"m{n}", position=n) for n in range(2)),
        file_order=file_order,
    )
    assert [names(take(queue, f"gw{n}")) for n in range(3)] == [["t0"], ["t1"], []]
    queue.release("gw0")
    assert take(queue, "gw2") is None
    queue.release("gw1")
    assert names(take(queue, "gw2")) == ["alone0"]
    queue.add([task("t0", scope="m0", seconds=0.06)])
    assert take(queue, "gw0") is None, "not even what came later runs beside it"
    queue.release("gw2")
    assert names(take(queue, "gw0")) == ["t0"]


# -- groups


def test_a_group_is_never_split_nor_stolen() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=2, position=n, group="g") for n in range(6)))
    assert names(take(queue)) == ["t0"]
    assert take(queue, "gw1") is None
    assert not queue.startable(room(), most=9)
    assert [names(take(queue))[0] for _ in range(5)] == ["t1", "t2", "t3", "t4", "t5"]


def test_a_group_keeps_its_order_although_its_tests_need_different_amounts() -> None:
    queue = queue_of(
        task("t0", position=0, group="g", memory=GIB // 2),
        task("t1", position=1, group="g", cpu=2),
        task("t2", position=2, group="g", cpu=2),
        task("t3", position=3, group="g", scope="other", labels=frozenset({"ssd"})),
    )
    first = take(queue, free=Resources(cpu_cores=1, memory_bytes=GIB))
    assert first is not None
    assert names(first) == ["t0"]
    assert queue.more("gw0", share=1) is None, "what comes back of a batch must run before the next"
    assert take(queue, "gw1") is None
    second, third = take(queue), take(queue)
    assert second is not None
    assert third is not None
    assert (names(second), names(third)) == (["t1"], ["t2"])
    assert (first.amounts.cpu_cores, second.amounts.cpu_cores) == (1, 2)
    assert queue.take("gw0", room(labels=frozenset()), share=1) is None
    assert names(take(queue, "gw1")) == ["t3"], "it goes where it can go on"


def test_a_group_waits_for_its_executor_when_its_next_test_does_not_fit_yet() -> None:
    queue = queue_of(
        task("g0", position=0, group="g", seconds=1),
        task("g1", position=1, group="g", seconds=1, cpu=4),
        task("g2", position=2, group="g", seconds=1),
        *(task(f"t{n}", scope="other", seconds=0.04, position=9) for n in range(4)),
    )
    busy = Resources(cpu_cores=3, memory_bytes=8 * GIB)
    assert names(take(queue)) == ["g0"]
    assert names(take(queue, free=busy)) == ["t0"], "the executor does something else meanwhile"
    assert names(take(queue, "gw1")) == ["t2"], "and no other one takes the group over"
    assert (queue.has_group("gw0"), queue.has_group("gw1")) == (True, False)
    assert names(take(queue)) == ["g1"]
    assert queue.has_group("gw0")
    assert names(take(queue, free=busy)) == ["g2"]
    assert not queue.has_group("gw0")


def test_a_group_whose_executor_waits_with_it_goes_on_elsewhere_when_that_dies() -> None:
    queue = queue_of(task("g0", group="g"), task("g1", position=1, group="g", cpu=4), task("t", scope="o"))
    assert names(take(queue)) == ["g0"]
    assert names(take(queue, free=Resources(cpu_cores=3))) == ["t"]
    assert take(queue, "gw1") is None
    queue.leave("gw0")
    assert names(take(queue, "gw1")) == ["g1"]


def test_a_group_that_waits_takes_in_what_comes_back_and_moves_where_that_can_run() -> None:
    needy = task("g0", group="g", labels=frozenset({"ssd"}))
    queue = queue_of(needy, task("g1", position=1, group="g", cpu=4), task("t", scope="o"))
    assert names(take(queue)) == ["g0"]
    busy = Resources(cpu_cores=3)
    assert names(take(queue, free=busy)) == ["t"]
    queue.add([needy])
    queue.release("gw0")
    assert queue.take("gw0", room(busy, frozenset()), share=1) is None
    assert names(take(queue, "gw1")) == ["g0"]


def test_what_a_group_gives_back_comes_before_its_rest() -> None:
    tasks = [task(f"t{n}", seconds=0.01, position=n, group="g") for n in range(20)]
    queue = queue_of(*tasks)
    batch = take(queue)
    assert batch is not None
    assert len(batch.tasks) == 5
    queue.add(batch.tasks[2:])
    assert names(take(queue))[0] == "t2"


def test_what_a_group_held_when_its_executor_died_comes_before_its_rest() -> None:
    queue = queue_of(*(task(f"t{n}", seconds=0.01, position=n, group="g") for n in range(20)))
    batch = take(queue)
    assert batch is not None
    queue.leave("gw0")
    queue.add(batch.tasks[1:])
    assert names(take(queue, "gw1"))[0] == "t1"
    assert take(queue, "gw2") is None


# -- turns


@pytest.mark.parametrize("file_order", [False, True])
def test_a_later_turn_waits_for_the_earlier_and_what_has_none_comes_when_it_fits_best(file_order: bool) -> None:
    late = [task(f"late{n}", seconds=9.0, position=4 + n, scope="l", turn=2) for n in range(2)]
    tests = [
        task("early", seconds=0.2, position=0, scope="e", turn=1),
        task("any", seconds=3.0, position=1 if file_order else 9, scope="a"),
        *late,
    ]
    queue = queue_of(*tests, file_order=file_order)
    order = ["early", "any"] if file_order else ["any", "early"]
    assert [names(take(queue)) for _ in tests] == [[name] for name in (*order, "late0", "late1")]


def test_no_process_goes_back_to_an_earlier_turn() -> None:
    late = [task(f"late{n}", seconds=1.0, position=n, turn=2) for n in range(3)]
    queue = queue_of(*late)
    assert names(take(queue)) == ["late0"]
    again = task("again", seconds=1.0, turn=1)
    queue = queue_of(*late, again)
    assert names(take(queue)) == ["again"]
    assert names(take(queue)) == ["late0"]
    queue.add([again], soon=True)
    assert names(take(queue)) == ["late1"], "its turn is over for this one"
    assert names(take(queue)) == ["late2"]
    assert take(queue) is None
    assert queue.is_past("gw0", room())
    assert not queue.is_past("gw1", room())
    assert names(take(queue, "gw1")) == ["again"]
    assert not queue.is_past("gw0", room()), "nothing waits"


def test_a_copy_is_given_to_a_process_in_the_same_turn() -> None:
    queue = queue_of(task("late", turn=2), task("any"))
    while take(queue) is not None:
        pass
    assert queue.admits_copy("gw0", task("x", turn=2))
    assert queue.admits_copy("gw1", task("x"))
    assert not queue.admits_copy("gw0", task("x", turn=1))
    assert not queue.admits_copy("gw1", task("x", turn=2)), "it may have an earlier one before it"


def test_a_group_goes_on_as_it_was_collected() -> None:
    members = [task(f"g{n}", seconds=1.0, position=n, group="g", turn=turn) for n, turn in enumerate([2, 1, 0])]
    queue = queue_of(*members)
    assert [names(take(queue)) for _ in members] == [["g0"], ["g1"], ["g2"]]


# -- any order of things

REQUIREMENTS = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from([0.5, 1, 2, 4]),
        "memory": st.sampled_from([0, 2**26, 10**8, GIB, 8 * GIB]),
        "gpu": st.sampled_from([0, 0, 1]),
        "labels": st.sampled_from([frozenset(), frozenset({"ssd"}), frozenset({"gpu", "ssd"})]),
        "claims": st.sampled_from([(), (), DB, READ_DB, BOTH, SERIAL, LICENSE, LICENSES]),
        "group": st.sampled_from([None, None, "g", "h"]),
        "turn": st.sampled_from([0, 1, 2]),
        "sources": st.sampled_from([(), (("memory", "marker"),)]),
    },
)
TASKS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.01, 0.04, 0.3, 2.0]), REQUIREMENTS),
    max_size=40,
).map(
    lambda rows: [
        task(f"t{n}", scope=scope, seconds=seconds, position=n, **requirements)
        for n, (scope, seconds, requirements) in enumerate(rows)
    ]
)


@dataclass
class Holder:
    """An executor as the dispatcher sees it."""

    batches: list[list[Task]] = field(default_factory=list)
    amounts: Resources | None = None
    claims: Claims = ()
    turn: int = 0


class Model:
    """Plays executors, and checks what they are given."""

    def __init__(self, tasks: list[Task], chance: Random) -> None:
        self.queue = queue_of(*tasks, counted=COUNTED, executors=4, file_order=chance.random() < 0.3)
        self.chance = chance
        self.waiting = {each.task_id: each for each in tasks}
        self.done: list[str] = []
        self.holders: dict[str, Holder] = {}
        self.made = 0
        self.free = MACHINE

    def hire(self) -> None:
        self.holders[f"gw{self.made}"] = Holder()
        self.made += 1

    def take(self, executor_id: str, *, labels: frozenset[str], free: Resources) -> bool:
        holder = self.holders[executor_id]
        if holder.batches:
            batch = self.queue.more(executor_id, share=len(self.holders))
            if batch is None:
                return False
            assert batch.amounts == holder.amounts
            assert not batch.claims
        else:
            could = self.queue.startable(room(free, labels), most=9)
            batch = self.queue.take(executor_id, room(free, labels), share=len(self.holders))
            if batch is None:
                self.check_idle(free, labels, holder.turn)
                return False
            # To others, the group that an executor works in is no work.
            assert could or {each.requirements.group for each in batch.tasks} <= {"g", "h"}, "startable said none"
            assert batch.amounts.fits_in(free)
            holder.amounts, holder.claims = batch.amounts, batch.claims
            self.free -= batch.amounts
            self.check_claims()
        self.check(batch, executor_id, labels)
        holder.batches.append(list(batch.tasks))
        return True

    def check_idle(self, free: Resources, labels: frozenset[str], turn: int) -> None:
        """Nobody is idle while something that he could run waits.

        Left out: groups, which have their executor, work too short to be split, what a claim that waits is
        kept free for, and what must have come before what he has run.
        """
        if any(each.requirements.claims for each in self.waiting.values()) or any(is_serial(c) for c in self.held()):
            return
        able = [
            each
            for each in self.waiting.values()
            if each.requirements.group is None
            and not 0 < each.requirements.turn < turn
            and each.requirements.labels <= labels
            and self.queue._kinds.of(each.requirements).requirements.amounts.fits_in(free)
        ]
        by_scope: Counter[str] = Counter()
        for each in able:
            by_scope[each.scope] += each.expected_s
        too_little = 0.011 * len(self.holders)  # each may be in a lane of its own with too little to share
        assert all(seconds < too_little for seconds in by_scope.values()), "an executor is idle beside waiting work"

    def held(self) -> list[Claims]:
        return [holder.claims for holder in self.holders.values() if holder.amounts is not None]

    def check_claims(self) -> None:
        held: Counter[str] = Counter()
        for claims in self.held():
            held.update(dict(claims))
        assert all(amount <= there_is(name, COUNTED) for name, amount in held.items()), f"too much is held: {held}"
        assert len(self.held()) == 1 or not any(map(is_serial, self.held())), "a serial test has company"

    def check(self, batch: Batch, executor_id: str, labels: frozenset[str]) -> None:
        assert batch.tasks
        for each in batch.tasks:
            assert each.task_id in self.waiting, f"{each.task_id} was handed out twice"
            del self.waiting[each.task_id]
            assert each.requirements.amounts.fits_in(batch.amounts)
            assert each.requirements.claims == batch.claims
            if self.holders[executor_id].batches == []:
                assert each.requirements.labels <= labels
            group, turn, holder = each.requirements.group, each.requirements.turn, self.holders[executor_id]
            assert group is not None or not 0 < turn < holder.turn, "it ought to have come before"
            holder.turn = max(turn, holder.turn)
            if group is not None:
                elsewhere = [h for name, h in self.holders.items() if name != executor_id]
                held = [t for h in elsewhere for b in h.batches for t in b]
                assert all(t.requirements.group != group for t in held), "a group runs in two places"

    def end(self, executor_id: str, *, give_back: bool) -> None:
        holder = self.holders[executor_id]
        if not holder.batches:
            return
        batch = holder.batches.pop(0)
        cut = self.chance.randint(1, len(batch)) if give_back else len(batch)
        self.done += [each.task_id for each in batch[:cut]]
        self.back(batch[cut:])
        self.release(holder)

    def die(self, executor_id: str) -> None:
        holder = self.holders[executor_id]
        held = [each for batch in holder.batches for each in batch]
        holder.batches = []
        self.release(holder)
        del self.holders[executor_id]
        self.queue.leave(executor_id)
        self.done += [each.task_id for each in held[:1]]  # the one it ran is to blame
        self.back(held[1:])

    def release(self, holder: Holder) -> None:
        if not holder.batches and holder.amounts is not None:
            self.free += holder.amounts
            self.queue.release(self.name_of(holder))
            holder.amounts, holder.claims = None, ()

    def name_of(self, holder: Holder) -> str:
        return next(name for name, other in self.holders.items() if other is holder)

    def back(self, tasks: list[Task]) -> None:
        self.waiting |= {each.task_id: each for each in tasks}
        self.queue.add(tasks)

    def agree(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert {each.task_id for each in self.queue} == self.waiting.keys()
        assert self.queue.expected_s() >= -1e-6


@settings(report_multiple_bugs=False)
@given(TASKS, st.randoms(use_true_random=False))
def test_any_order_of_things(tasks: list[Task], chance: Random) -> None:
    model = Model(tasks, chance)
    for _ in range(60):
        if not model.holders or chance.random() < 0.1:
            model.hire()
        executor_id = chance.choice(sorted(model.holders))
        act = chance.random()
        if act < 0.55:
            labels = chance.choice([ALL_LABELS, ALL_LABELS, frozenset()])
            if not model.holders[executor_id].batches or act < 0.2:
                model.take(executor_id, labels=labels, free=model.free)
        elif act < 0.95:
            model.end(executor_id, give_back=chance.random() < 0.3)
        else:
            model.die(executor_id)
        model.agree()
    drain(model)
    assert sorted(model.done) == sorted(each.task_id for each in tasks)
    for group in ("g", "h"):
        mine = [each.task_id for each in tasks if each.requirements.group == group]
        assert [task_id for task_id in model.done if task_id in set(mine)] == mine, "a group ran out of order"


def drain(model: Model) -> None:
    """Let every executor end its work, and one run the rest: all must come."""
    for executor_id in sorted(model.holders):
        while model.holders[executor_id].batches:
            model.end(executor_id, give_back=False)
    model.hire()
    executor_id = f"gw{model.made - 1}"
    for other in sorted(model.holders):
        if other != executor_id:
            model.die(other)
    while model.waiting:
        if not model.take(executor_id, labels=ALL_LABELS, free=model.free):
            assert model.queue.is_past(executor_id, room(model.free)), "what waits is not handed out"
            model.die(executor_id)
            model.hire()
            executor_id = f"gw{model.made - 1}"
        model.end(executor_id, give_back=False)


@pytest.mark.parametrize("file_order", [False, True])
def test_what_is_tried_again_comes_before_all_that_waits(file_order: bool) -> None:
    many = [task(f"t{number}", seconds=1.0, position=number) for number in range(40)]
    again = task("again", seconds=1.0, position=99, scope="other")
    queue = WorkQueue(lambda task_id, _: 1.0, QueueSettings(largest=MACHINE, file_order=file_order))
    queue.add(many)
    assert queue.take("gw0", room(), share=1) is not None
    assert queue.more("gw0", share=1) is not None, "it goes on in its module"
    queue.add([again], soon=True)
    assert queue.more("gw0", share=1) is None
    queue.release("gw0")
    assert names(queue.take("gw0", room(), share=1)) == ["again"]
    queue.release("gw0")
    assert names(queue.take("gw0", room(), share=1)) == ["t2"], "and back"
