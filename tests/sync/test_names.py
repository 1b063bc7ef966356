"""Each name that ``dynostore.sync`` offers is there, though it is imported when first asked for."""

from __future__ import annotations

import dynostore.sync


def test_every_name_that_is_offered_can_be_imported() -> None:
    for name in dynostore.sync.__all__:
        assert getattr(dynostore.sync, name).__name__ == name
