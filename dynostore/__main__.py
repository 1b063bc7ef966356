"""``python -m dynostore``: the same as the command ``dynostore``, where that is not on PATH."""

from __future__ import annotations

import sys

from dynostore.cli import main

if __name__ == "__main__":
    sys.exit(main())
