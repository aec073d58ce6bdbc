"""``python -m napari_kindred`` is the command ``napari-kindred``."""

import sys

from .cli.main import main

sys.exit(main())
