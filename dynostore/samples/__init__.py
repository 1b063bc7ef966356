"""Demo data, shipped with the package: an older tool's files, and records of every family.

To add files: put them below a directory here, name it in ``package_data`` (setup.cfg), and give its
path with a function as below. To add records of a family: write ``samples/NAME.py`` with a function
``records(now)``, as the others have it, and name it in :mod:`dynostore.samples.seed`.
"""

from __future__ import annotations

from pathlib import Path


def legacy_runs() -> Path:
    """Give the directory of a few DynoAI runs in all four layouts.

    Eleven directories of runs, one of them with a manifest that was cut off; a left-over temporary
    file and a stale index lie among them, as in the wild.
    """
    return Path(__file__).parent / "legacy_runs"
