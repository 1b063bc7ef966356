"""Looks a store over from outside, says what is wrong and which command mends it.

A look is quick whatever the store's size, works on what cannot be opened, and changes nothing. To
add a check: write a function in the module of what it looks at that gives :class:`Finding` records
(``machine``, ``file``, ``contents``, ``schema``, ``syncing``, ``server``, ``old_forms``), call it
from that module's ``look_...``, and list it in ``docs/operations.md``.
"""

from dynostore.doctor.diagnosis import diagnose
from dynostore.doctor.findings import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "diagnose"]
