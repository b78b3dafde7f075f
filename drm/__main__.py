"""``python -m drm``."""

import sys

from drm.cli import main

sys.exit(main())
