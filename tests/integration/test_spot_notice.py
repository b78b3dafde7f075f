"""A worker's machine is said to be taken away: in a real run, by a metadata service of ours."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

from projects import MODES, Project

TESTS = """
import time, pytest

@pytest.mark.parametrize("n", range(40))
def test_n(n):
    time.sleep(0.05)
"""


def test_the_worker_is_given_no_more_tests_and_the_run_goes_on(project: Project) -> None:
    asked: list[str] = []
    answers = chain([b"TRUE"], repeat(b"FALSE"))  # taken one by one, also by two workers that ask at the same moment

    class Metadata(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(answers))

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True).start()
        project.file("test_l.py", TESTS)
        ran = project.run(*MODES["workers"], DRM_NOTICES=f"gce=http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert ran.account() == {"passed": 40}, ran.out
    ran.line(r"worker w\d is given no more tests: spot preemption: the machine is being stopped")
    assert set(asked) == {"/computeMetadata/v1/instance/preempted"}
    assert len(asked) >= 2  # each worker asks
    assert "was lost" not in ran.out
