"""Providers whose library is not installed, and what is imported before one is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drm.cloud_provider_manager.extras import load, load_parts
from drm.cloud_provider_manager.messages import one_line
from drm.cloud_provider_manager.providers.aws import AwsProvider, AwsSettings
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.cloud_provider_manager.providers.gcp import GcpProvider, GcpSettings
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings
from drm.model.errors import ConfigError
from drm.model.resources import Resources


def test_a_missing_extra_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("boto3", "boto3.session", "docker", "google.cloud.compute_v1", "kubernetes", "kubernetes.client"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"needs boto3.*; python -m pip install 'drm-testing\[aws\]'$"):
        AwsProvider(AwsSettings(region="us-east-1", image="ami-1", limit=Resources()), ())
    with pytest.raises(ConfigError, match=r"needs docker.*; python -m pip install 'drm-testing\[docker\]'$"):
        DockerProvider(Resources(), (), image="x")
    with pytest.raises(ConfigError, match=r"needs kubernetes.*; python -m pip install 'drm-testing\[kubernetes\]'$"):
        KubernetesProvider(KubernetesSettings(image="x", limit=Resources()), ())
    with pytest.raises(ConfigError, match=r"needs google-cloud-compute.*; python -m pip install 'drm-testing\[gcp\]'$"):
        GcpProvider(GcpSettings(project="p", image="x", limit=Resources()), ())


def test_nothing_heavy_is_imported_for_what_needs_it_not() -> None:
    package = "drm.cloud_provider_manager"
    modules = [package, *(f"{package}.providers.{name}" for name in ("aws", "docker", "gcp", "kubernetes"))]
    heavy = {"boto3", "botocore", "docker", "requests", "kubernetes", "urllib3", "google.auth"}
    code = f"import sys, {', '.join(modules)}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_load_returns_the_module() -> None:
    assert load("json.decoder", extra="x").__name__ == "json.decoder"


def test_parts_are_loaded_alone_and_the_package_is_whole_for_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "__init__.py": "from large_of_test import other\nfrom large_of_test.deep import part\nANSWER = 42\n",
        "version.py": "",
        "other.py": "",
        "deep/__init__.py": "",
        "deep/part.py": "from large_of_test import version\n",
    }
    (tmp_path / "large_of_test" / "deep").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "large_of_test" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    (part,) = load_parts("large_of_test", "deep.part", extra="x")
    assert part is sys.modules["large_of_test.deep.part"]
    assert "large_of_test.other" not in sys.modules
    code: dict[str, Any] = {}
    exec("import large_of_test, large_of_test.deep; from large_of_test import ANSWER", code)
    assert code["ANSWER"] == 42
    assert code["large_of_test"].deep.part is part
    assert "large_of_test.other" in sys.modules
    assert load_parts("large_of_test", "deep.part", extra="x") == (part,)
    monkeypatch.setitem(sys.modules, "large_of_test", None)
    with pytest.raises(ConfigError):
        load_parts("large_of_test", "deep.part", extra="x")


def test_a_package_that_is_not_there_has_no_parts() -> None:
    for package in ("no_such_package", "no_such_package.inside"):
        with pytest.raises(ConfigError, match=r"python -m pip install 'drm-testing\[x\]'$"):
            load_parts(package, "part", extra="x")


def test_what_is_said_is_one_short_line_without_secrets() -> None:
    said = one_line("a\nb\x1b[31m key-and-more key " + "x" * 400, secrets=("key", "key-and-more", ""))
    assert said.startswith("a b [31m *** *** x")
    assert len(said) == 300
