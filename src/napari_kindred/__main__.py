"""``python -m napari_kindred`` is the command ``napari-kindred``."""

import signal
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command; Ctrl-C ends it without a traceback whenever it comes."""
    try:
        from .cli.main import CANCELLED, main

        code = main()
        if code != CANCELLED:
            sys.exit(code)
    except KeyboardInterrupt:  # while modules are imported, or for the second time
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter takes a moment to end
    sys.exit(130)


if __name__ == "__main__":
    run()
