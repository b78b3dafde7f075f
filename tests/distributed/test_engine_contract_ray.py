"""The Ray engine keeps the contract of engines, on machines that are processes of this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_contract import KIND, EngineContract, Place, make_suite

from benchmarks.ray_cluster import RayCluster, ray_cluster
from drm.engines.ray_engine.engine import RayEngine
from drm.engines.ray_engine.state import CoordinatorState
from drm.model import observations as seen

pytestmark = pytest.mark.usefixtures("needs_ray")


class OnRay(Place):
    """Workers on machines that are there already, for to start one takes seconds."""

    def __init__(self, folder: Path, cluster: RayCluster) -> None:
        state = CoordinatorState.of(cluster.address)
        engine = RayEngine(
            suite=make_suite(folder),
            state=state,
            say=lambda line: self.said.append(line),
        )
        super().__init__(folder, engine)
        self._is_started = False

    def worker(self, worker_id: str) -> None:
        self.engine.join_command(worker_id, KIND)  # type: ignore[attr-defined]
        if not self._is_started:
            self.engine.join_command("w1", KIND)  # type: ignore[attr-defined]
            self._is_started = True
            self.engine.start()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # there is no controller to greet them
        folder = tmp_path_factory.mktemp("cluster")
        patch.setenv("DRM_CLUSTER_FOLDER", str(folder))
        with ray_cluster(folder) as made:
            made.add("w0")
            made.add("w1")
            made.wait_joined("w0", "w1")
            yield made


class TestRay(EngineContract):
    @pytest.fixture
    def make_place(self, cluster: RayCluster) -> Callable[[Path], Place]:
        return lambda folder: OnRay(folder, cluster)

    def test_executors_have_the_environment_of_the_machine(self, place: OnRay) -> None:
        """Ray adds to it, as for an actor without cores and gpus."""
        (place.folder / "test_tiny.py").write_text(
            "import os\ndef test_environment(): assert not [n for n in os.environ if n[:4] in ('RAY_', 'OMP_')]\n"
        )
        place.joined()
        place.executor("gw0")
        place.send("gw0", "test_environment")
        assert place.ended("test_environment")[1] == ""

    def test_executors_are_as_nice_as_who_started_the_machine(self, place: OnRay) -> None:
        """Ray makes what actors start give way to all else, unless told."""
        (place.folder / "test_tiny.py").write_text(f"import os\ndef test_nice(): assert os.nice(0) == {os.nice(0)}\n")
        place.joined()
        place.executor("gw0")
        place.send("gw0", "test_nice")
        assert place.ended("test_nice")[1] == ""

    def test_the_kernel_chooses_executors_before_the_worker(self, place: OnRay) -> None:
        """Ray lets it choose what actors start before all else, unless told."""
        (place.folder / "test_tiny.py").write_text(
            "import os\n"
            "def score(pid): return int(open(f'/proc/{pid}/oom_score_adj').read())\n"
            "def test_score(): assert score('self') > score(os.getppid())\n"
        )
        place.joined()
        place.executor("gw0")
        place.send("gw0", "test_score")
        assert place.ended("test_score")[1] == ""

    def test_what_a_worker_printed_before_its_end_is_shown(self, place: OnRay) -> None:
        (place.folder / "conftest.py").write_text("raise SystemError('no such luck')\n")
        place.worker("w0")
        assert "zygote ended" in place.wait_for(seen.WorkerLeft).reason
        assert any("no such luck" in line for line in place.said)
