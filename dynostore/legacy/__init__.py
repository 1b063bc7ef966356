"""Readers of what older tools left behind: pure, they detect and read, and know no store.

To add one: write ``legacy/NAME.py`` with a class that fulfils :class:`~dynostore.legacy.base.
Reader`, add an instance to :data:`READERS`, and write its tests in ``tests/legacy/test_NAME.py``
over fixtures of its own. A record is a :class:`~dynostore.legacy.base.SourceRecord` of any model
of the store, children included; whatever is no record is a :class:`~dynostore.legacy.base.Finding`,
so that nothing in the source goes unmentioned. Follow the format, not the samples at hand: keys are
absent, null or of another shape; what no column takes goes to ``metadata``. Directories are walked
by :mod:`dynostore.legacy.source_tree`, JSON is read by :mod:`dynostore.legacy.source_json`, times
by :mod:`dynostore.legacy.timestamps`; merging, writing and reading back are the importer's.
"""

from dynostore.legacy.base import Counting, Finding, Reader, ReadOptions, SourceRecord
from dynostore.legacy.chiffon import ChiffonReader
from dynostore.legacy.dynoai import DynoaiReader
from dynostore.legacy.dynostore import DynostoreReader
from dynostore.legacy.haia import HaiaReader
from dynostore.legacy.ideation import IdeationReader
from dynostore.legacy.jsonl import JsonlReader
from dynostore.legacy.taskforce import TaskforceReader

READERS: tuple[Reader, ...] = (
    DynoaiReader(),
    DynostoreReader(),
    JsonlReader(),
    TaskforceReader(),
    IdeationReader(),
    ChiffonReader(),
    HaiaReader(),
)
"""All readers, in the order in which they are asked."""

__all__ = ["READERS", "Counting", "Finding", "ReadOptions", "Reader", "SourceRecord"]
