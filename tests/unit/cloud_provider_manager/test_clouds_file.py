"""clouds.toml: what it says, what it must not, and the manager that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.clouds_file import Clouds, read_clouds
from drm.cloud_provider_manager.opening import open_clouds, provider_of
from drm.cloud_provider_manager.providers.aws import AwsProvider
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import CapacityError, ConfigError, DrmError
from drm.model.resources import Resources

FULL = """
[budget]
usd = 20
workers = 30

[policy]
on_demand_floor = 1
patience = "10m"
when_exhausted = "local"
lease = "1h"

[warm_up]
git = "https://example.com/project.git"
ref = "v1.2"
requirements = ["numpy>=1.26"]

[aws]
region = "us-east-1"
image = "ami-1"
zones = ["us-east-1a", "us-east-1b"]
types = ["c7i.2xlarge", "m7i.2xlarge"]
limit_cpu = 64
limit_memory = "256GiB"
security_groups = ["sg-1"]
subnets = { us-east-1a = "subnet-1" }

[kubernetes]
image = "tests:1"
namespace = "drm"
tolerations = [{ key = "drm", operator = "Exists" }]

[[kubernetes.types]]
name = "small"
cpu = 2
memory = "4GiB"
usd_per_hour = 0.05
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "clouds.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_full_file_says(tmp_path: Path) -> None:
    clouds = read_clouds(written(tmp_path, FULL))
    assert clouds.budget == Budget(usd=20, workers=30)
    assert (clouds.policy.on_demand_floor, clouds.policy.patience_s) == (1, 600.0)
    assert (clouds.falls_back, clouds.lease_s, clouds.join_s) == (True, 3600.0, 900.0)
    assert clouds.warm_up is not None
    assert "git -C /opt/drm/project checkout -q --detach v1.2" in clouds.warm_up.script()
    aws, pods = clouds.providers
    assert aws.settings == {
        "region": "us-east-1",
        "image": "ami-1",
        "security_groups": ("sg-1",),
        "subnets": {"us-east-1a": "subnet-1"},
    }
    assert aws.limit == Resources(cpu_cores=64, memory_bytes=256 * 2**30)
    assert pods.limit == Resources(cpu_cores=2, memory_bytes=4 * 2**30)
    ways = clouds.ways()
    assert list(ways) == ["c7i.2xlarge", "m7i.2xlarge", "small"]
    assert [(each.zone, each.market) for each in ways["c7i.2xlarge"]] == [
        ("us-east-1a", "spot"),
        ("us-east-1b", "spot"),
        ("us-east-1a", "on-demand"),
        ("us-east-1b", "on-demand"),
    ]
    assert ways["small"] == (WorkerType(name="small", capacity=pods.limit, usd_per_hour=0.05, provider="kubernetes"),)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("[budget]", "[budgets]"), r"unknown key 'budgets'; did you mean 'budget'"),
        (("usd = 20", "us = 20"), r"\[budget\]: unknown key 'us'; did you mean 'usd'"),
        (("usd = 20", "usd = -1"), r"budget: usd = -1 is no amount"),
        (("region =", "regon ="), r"\[aws\]: unknown key 'regon'; did you mean 'region'"),
        (('region = "us-east-1"\n', ""), r"\[aws\]: region is missing"),
        (("[budget]", "budget = 1\n[x]"), "clouds.toml"),
        (('"local"', '"cloud"'), 'when_exhausted = \'cloud\'; write "error" or "local"'),
        (('"10m"', '"soon"'), r"\[policy\]: patience: 'soon' is not a duration"),
        (('"c7i.2xlarge"', '"c99.huge"'), "type 'c99.huge' is not in the catalogue of aws"),
        (('"us-east-1b"', '"moon-1b"'), r"has no price of c7i.2xlarge in 'moon-1'"),
        (("cpu = 2", "cpu = nan"), r"types: cpu = nan is no amount"),
        (("cpu = 2", "cpus = 2"), r"types: unknown key 'cpus'; did you mean 'cpu'"),
        (('memory = "4GiB"', ""), r"types: memory is missing"),
        (("[[kubernetes.types]]", "[kubernetes.types]"), r"it has no types"),
        (("limit_cpu = 64", 'limit_cpu = "many"'), r"limit_cpu = 'many' is no amount"),
        (("limit_cpu = 64", 'markets = ["moon"]'), r"market 'moon'"),
        (('zones = ["us-east-1a", "us-east-1b"]', 'zones = "us-east-1a"'), r"\[aws\]: zones must be a list"),
        (('ref = "v1.2"', 'ref = "-x"'), "warm-up: '-x' is no commit"),
        (('git = "https://', 'git = "https://me:canary@'), "would be in user data"),
        (("on_demand_floor = 1", 'on_demand_floor = "1"'), "a value is of the wrong kind"),
        (("[budget]", "[budget"), "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_place(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    assert change[0] in FULL
    with pytest.raises(ConfigError, match=match) as caught:
        read_clouds(written(tmp_path, FULL.replace(*change)))
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_file_without_a_provider_or_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no provider"):
        read_clouds(written(tmp_path, "[budget]\nusd = 1\n"))
    with pytest.raises(ConfigError, match=r"cannot be read .*an example"):
        read_clouds(tmp_path / "absent.toml")


VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.floats(), st.booleans(), st.text("ab\"'=-", max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["name", "cpu"]), inner)),
    max_leaves=4,
)
KEYS = ("image", "types", "zones", "region", "limit_cpu", "usd", "patience", "git", "ref", "tolerations", "markets")


@given(
    tables=st.dictionaries(
        st.sampled_from(["budget", "policy", "warm_up", "aws", "gcp", "kubernetes", "docker"]),
        st.one_of(VALUES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)),
    )
)
def test_whatever_is_written_there_is_read_or_refused_in_one_line(tables: dict[str, Any]) -> None:
    from drm.cloud_provider_manager import clouds_file

    said = ""
    try:
        clouds_file._checked(tables, Path("clouds.toml"))
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.drm(group="ec2")
def test_a_manager_is_made_of_it_and_buys(
    tmp_path: Path, ec2: Any, clock: Any, request_for: Callable[..., InstanceRequest]
) -> None:
    text = f"""
[budget]
usd = 5
[policy]
on_demand_floor = 1
[aws]
region = "us-east-1"
image = "{ec2.image}"
endpoint_url = "{ec2.url}"
zones = ["us-east-1a"]
types = ["m6i.large"]
limit_cpu = 4
limit_memory = "64GiB"
"""
    clouds = read_clouds(written(tmp_path, text))
    manager = open_clouds(clouds, clock=clock, run_id="r", journal=tmp_path / "history.db")
    ways = clouds.ways()["m6i.large"]
    for worker in ("w1", "w2"):
        manager.create_worker(request_for(worker, worker_type=ways[0], token=f"r/{worker}"))
    assert [manager.type_of(each.worker_id).market for each in manager.instances()] == ["on-demand", "spot"]
    with pytest.raises(CapacityError, match="the limit of provider aws leaves too little"):
        manager.create_worker(request_for("w3", worker_type=ways[0], token="r/w3"))
    manager.terminate_all()
    assert ec2.live() == []


def test_a_setting_of_the_wrong_kind_is_a_config_error(tmp_path: Path) -> None:
    text = '[aws]\nregion = "us-east-1"\nimage = "x"\nzones = ["us-east-1a"]\ntypes = ["m6i.large"]\ntimeout_s = "x"\n'
    clouds: Clouds = read_clouds(written(tmp_path, text))
    with pytest.raises(DrmError) as caught:
        provider_of(clouds.providers[0], clouds)
    assert "\n" not in str(caught.value)
    assert AwsProvider is not None
