"""Who may join a cluster: certificates of one authority, a token, and the door at which both are checked.

``authority`` makes them (``drm coordinator --init``), ``credentials`` reads them and gives Ray its environment,
``door`` and ``knock`` are the two sides of the check before Ray is started: it answers within seconds, where
Ray itself waits more than a minute for a certificate that does not fit; ``reception`` is where anybody may come.
``enrolment`` gives credentials to machines that were bought. No secret is ever printed.
"""

from drm.cluster_trust.authority import make_trust
from drm.cluster_trust.credentials import (
    COORDINATOR,
    WORKER,
    Credentials,
    default_folder,
    environment,
    load_credentials,
)
from drm.cluster_trust.door import Answer, Door
from drm.cluster_trust.knock import knock, probe_port

__all__ = [
    "COORDINATOR",
    "WORKER",
    "Answer",
    "Credentials",
    "Door",
    "default_folder",
    "environment",
    "knock",
    "load_credentials",
    "make_trust",
    "probe_port",
]
