"""Markers, the [drm] section and worker types: what they mean, and what they refuse by name and with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.claims import claims_of
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import (
    KEYS,
    group_marker,
    parse_counted,
    parse_defaults,
    parse_worker_type,
    requirements_of,
)
from drm.model.resources import Requirements, Resources
from drm.settings import ProjectSettings, read_settings

GIB = 2**30
MACHINE = Resources(cpu_cores=4, memory_bytes=8 * GIB)


def required(
    *markers: dict[str, Any], defaults: dict[str, Any] | None = None, counted: dict[str, int] | None = None
) -> Requirements:
    """Return what a test with these markers requires, nearest first."""
    given = [((), marker) for marker in markers]
    return requirements_of(given, defaults or {}, where="a.py::test_a", counted=counted or {})


def test_a_marker_with_everything() -> None:
    asked = required(
        {"cpu": 2, "memory": "4GiB", "gpu": 0.5, "labels": ["x", "y"], "lock": "db", "group": "g", "timeout": "2m"}
    )
    assert asked.amounts == Resources(cpu_cores=2, memory_bytes=4 * GIB, gpus=0.5)
    assert (asked.labels, asked.claims, asked.group) == (frozenset({"x", "y"}), claims_of(locks=["db"]), "g")
    assert asked.timeout_s == 120
    assert asked.source_of("memory") == asked.source_of("cpu") == "marker"


def test_no_marker_asks_for_a_core() -> None:
    assert required() == Requirements(amounts=Resources(cpu_cores=1))
    assert required().source_of("memory") == "default"


def test_the_nearer_marker_wins_key_by_key_and_then_the_configuration() -> None:
    asked = required(
        {"cpu": 2}, {"cpu": 4, "memory": "1GiB", "lock": None}, defaults={"cpu": 3.0, "timeout": 9.0, "memory": 5}
    )
    assert asked.amounts == Resources(cpu_cores=2, memory_bytes=GIB)
    assert asked.timeout_s == 9.0
    assert asked.claims == ()
    assert dict(asked.sources) == {"cpu": "marker", "memory": "marker", "timeout": "configuration"}


def test_what_a_test_claims_of_the_run() -> None:
    assert required({"lock": ["db", "net"], "shared_lock": ["net", "disk"]}).claims == claims_of(
        locks=["db", "net"], shared_locks=["disk"]
    )
    assert required({"serial": True}).claims == claims_of(serial=True)
    assert required({"serial": False}, {"serial": True}).claims == ()
    counted = required({"resources": {"license": 2, "browser": 1}}, counted={"license": 2, "browser": 4})
    assert counted.claims == claims_of(counted={"license": 2, "browser": 1})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"licence": 1}, "'licence' is not declared; did you mean 'license'?"),
        ({"gpu": 1}, "'gpu' is not declared; write \"resources = gpu:1\" in [drm]"),
        ({"license": 3}, "3 of 'license'; there are 2; ask for less or declare more"),
    ],
)
def test_a_counted_resource_that_is_not_there(wanted: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        required({"resources": wanted}, counted={"license": 2})
    assert str(caught.value) == f"a.py::test_a: drm marker resources: {message}"


def test_the_group_marker_of_pytest_xdist_is_a_group() -> None:
    assert group_marker(("g",), {}) == group_marker((), {"name": "g"}) == ((), {"group": "g"})
    assert requirements_of([group_marker((), {})], {}, where="x").group == "default"


@pytest.mark.parametrize("text", ["license:2 browser:4", "license:2, browser:4", ["license:2", "browser:4"]])
def test_counted_resources_are_parsed(text: object) -> None:
    assert parse_counted(text, where="x") == {"license": 2, "browser": 4}


@pytest.mark.parametrize(
    "text", ["license", "license:", ":2", "license:0", "a:1 a:2", "a:-1", "a:b", {"a": 0}, {"": 1}]
)
def test_counted_resources_that_are_none(text: object) -> None:
    with pytest.raises(ConfigError, match=r"^x: "):
        parse_counted(text, where="x")


def test_labels_may_be_one_text() -> None:
    assert required({"labels": "gpu"}).labels == {"gpu"}


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ({"memroy": "1GiB"}, "unknown key 'memroy'; did you mean 'memory'?"),
        ({"colour": 1}, "unknown key 'colour'; the keys are cpu, memory, gpu, labels, lock, shared_lock, serial"),
        ({"cpu": -1}, "cpu: -1 is not an amount; give a number >= 0"),
        ({"cpu": 0}, "cpu: a test cannot run on 0 cpu; give a number above 0, such as 0.5"),
        ({"cpu": 0.0004}, "cpu: a test cannot run on 0.0004 cpu; give"),
        ({"cpu": 10**400}, "0... is not an amount; give a number >= 0"),
        ({"gpu": 10**5000}, "gpu: <int that cannot be shown> is not an amount; give a number >= 0"),
        ({"memory": 10**400}, "0... is not a size; write it like"),
        ({"timeout": 10**400}, "0... is not a duration; write it like"),
        ({"resources": {"a": -(10**5000)}}, "<int that cannot be shown> of 'a' is no count; give"),
        ({"group": 10**5000}, "group: <int that cannot be shown> is not a name; give"),
        ({"cpu": "many"}, "cpu: 'many' is not an amount; give a number >= 0"),
        ({"cpu": True}, "cpu: True is not an amount; give a number >= 0"),
        ({"memory": "lots"}, "memory: 'lots' is not a size; write it like"),
        ({"memory": -5}, "memory: -5 is not a size; write it like"),
        ({"gpu": 0.0004}, "gpu: 0.0004 is less than a thousandth of a gpu; give 0, or at least 0.001"),
        ({"gpu": float("nan")}, "gpu: nan is not an amount; give"),
        ({"gpu": [1]}, r"gpu: [1] is not an amount; give"),
        ({"timeout": 0}, "timeout: 0 seconds is no time to run in; give"),
        ({"timeout": "soon"}, "timeout: 'soon' is not a duration; write it like"),
        ({"labels": 3}, "labels: 3 is no list of names; give a list such as"),
        ({"labels": ["", "x"]}, "labels: '' is not a name; give"),
        ({"lock": ""}, "lock: '' is not a name; give"),
        ({"lock": 7}, "lock: 7 is no list of names; give a list such as"),
        ({"serial": "yes"}, "serial: 'yes' is neither yes nor no; give True or False"),
        ({"resources": "license"}, "resources: 'license' names no amounts; give a dict such as"),
        ({"resources": {"license": 0.5}}, "resources: 0.5 of 'license' is no count; give a whole number above 0"),
        ({"resources": {"license": True}}, "resources: True of 'license' is no count; give"),
        ({"resources": {"": 1}}, "resources: '' is not a name; give"),
        ({"group": 7}, "group: 7 is not a name; give"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_marker_cannot_say(marker: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        required(marker)
    assert str(caught.value).startswith("a.py::test_a: drm marker")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_positional_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"takes no positional values; write @pytest\.mark\.drm\(cpu=2"):
        requirements_of([((2,), {})], {}, where="a.py::test_a")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=3))


@given(st.dictionaries(st.sampled_from(list(KEYS)), VALUES))
def test_any_value_is_understood_or_refused_in_one_line(marker: dict[str, Any]) -> None:
    try:
        asked = required(marker)
    except ConfigError as error:
        assert error.remedy  # noqa: PT017 - most examples raise nothing
    else:
        assert asked.amounts.cpu_cores >= 0
        assert asked.amounts.memory_bytes >= 0
        assert asked.timeout_s is None or asked.timeout_s > 0


def test_defaults_are_parsed() -> None:
    assert parse_defaults({"cpu": "2", "memory": "1GiB", "timeout": "90s", "executors": "4"}, where="x") == {
        "cpu": 2.0,
        "memory": GIB,
        "timeout": 90.0,
    }
    with pytest.raises(ConfigError, match=r"^x: memory: 'much' is not a size"):
        parse_defaults({"memory": "much"}, where="x")


# -- worker types


def test_worker_types() -> None:
    text = "name=big,cpu=2,memory=4GiB,gpu=1,labels=gpu+ssd,price=0.5"
    assert parse_worker_type(text, machine=MACHINE, number=3) == WorkerType(
        name="big",
        capacity=Resources(cpu_cores=2, memory_bytes=4 * GIB, gpus=1),
        labels=frozenset({"gpu", "ssd"}),
        usd_per_hour=0.5,
    )
    plain = parse_worker_type(" cpu = 1 ", machine=MACHINE, number=0)
    assert plain == WorkerType(name=plain.name, capacity=Resources(cpu_cores=1, memory_bytes=2 * GIB))
    second = parse_worker_type("cpu=99", machine=MACHINE, number=2)
    assert second.capacity.memory_bytes == 8 * GIB
    assert second.name != plain.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "'fast' is not KEY=VALUE; write"),
        ("cpu=", "'cpu=' is not KEY=VALUE; write"),
        ("", "'' is not KEY=VALUE; write"),
        ("cpus=1", "unknown key 'cpus'; did you mean 'cpu'?"),
        ("cpu=0", "a test cannot run on 0 cpu; give"),
        ("memory=x", "'x' is not a size; write"),
        ("memory=0", "memory: '0' is no memory to run tests in; give a size"),
        ("cpu=1, cpu=2", "cpu is given twice; give it once"),
        ("price=-1", "'-1' is not an amount; give"),
        ("price=1e308", "price: '1e308' is no price; give USD an hour"),
        ("gpu=0.0004", "gpu: 0.0004 is less than a thousandth of a gpu; give"),
    ],
)
def test_what_a_worker_type_cannot_say(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_worker_type(text, machine=MACHINE, number=0)
    assert "--drm-worker-type" in str(caught.value)
    assert message in str(caught.value)


# -- the [drm] section


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[drm]\ncpu = 2\nmemory = 1GiB\nexecutors = 1..4\n"),
        ("setup.cfg", "[metadata]\nname = %(x)s\n[drm]\ncpu = 2\nmemory = 1GiB\nexecutors = 1..4\n"),
        ("pyproject.toml", '[tool.drm]\ncpu = 2\nmemory = "1GiB"\nexecutors = "1..4"\n'),
    ],
)
def test_settings_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    section = "[tool.drm]" if name == "pyproject.toml" else "[drm]"
    assert read_settings(tmp_path) == ProjectSettings(
        where=f"{name} {section}", requirements={"cpu": 2.0, "memory": GIB}, options={"executors": "1..4"}
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[drm]\nresources = license:2\n    browser:4\n"),
        ("pyproject.toml", "[tool.drm.resources]\nlicense = 2\nbrowser = 4\n"),
    ],
)
def test_counted_resources_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_settings(tmp_path).counted == {"license": 2, "browser": 4}


def test_a_list_in_toml_is_words(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.drm]\nworker_type = ["cpu=1", "cpu=2,name=big"]\nworkers = 2\n')
    assert read_settings(tmp_path).options == {"worker_type": "cpu=1 cpu=2,name=big", "workers": "2"}


def test_the_first_file_that_has_the_section_counts(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == ProjectSettings()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "pyproject.toml").write_text("[tool.drm]\ncpu = 2\n")
    (tmp_path / "setup.cfg").write_text("[drm]\ncpu = 3\n")
    assert read_settings(tmp_path).requirements == {"cpu": 2.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "pytest.ini",
            b"[drm]\nexecuters = 2\n",
            "pytest.ini [drm]: unknown key 'executers'; did you mean 'executors'?",
        ),
        ("pytest.ini", b"[drm]\n[drm]\n", "pytest.ini cannot be read: "),
        ("setup.cfg", b"no section\n", "setup.cfg cannot be read: "),
        ("setup.cfg", b"[drm]\ncpu = \xff\n", "setup.cfg cannot be read: "),
        ("pyproject.toml", b"[tool.drm\n", "pyproject.toml cannot be read: "),
        ("pyproject.toml", b"[tool]\ndrm = 3\n", "pyproject.toml"),
        ("pyproject.toml", b"tool = 3\n", "pyproject.toml"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
