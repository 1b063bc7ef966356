"""Full text search over the records of a store, on SQLite and Postgres.

To add a kind of record: add it to :data:`dynostore.search.kinds.KINDS` under a number that none had
before; indexes that were made without it are made anew by the next search. What a person can type
is read in ``words``; each database has its index in a module of its own.
"""

from dynostore.search.find import MOST_HITS, check_arguments, find, index_of, is_ready, search
from dynostore.search.hits import MARKS, Hit, Hits
from dynostore.search.kinds import KINDS

__all__ = [
    "KINDS",
    "MARKS",
    "MOST_HITS",
    "Hit",
    "Hits",
    "check_arguments",
    "find",
    "index_of",
    "is_ready",
    "search",
]
