"""``python -m drm.cicd_integration``: the same as ``drm ci``."""

import sys

from drm.cli import main

sys.exit(main(["ci", *sys.argv[1:]]))
