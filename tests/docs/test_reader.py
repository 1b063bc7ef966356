"""The reader of the pages notices when a page is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Walk = Callable[[Path], None]

RIGHT = """
<!-- first: dynostore -q init -->

```console
$ dynostore runs create --id run_a --created-at 2026-01-02T10:00:00Z
run_a
$ dynostore runs list
id     status   source  created                    %  stage  input
run_a  pending  manual  2026-01-01T09:00:00+00:00  ...
$ dynostore runs show run_b  # exit 4
error: ...run_b...
```

`answer.py`:

```python
print(6 * 7)
```

```console
$ python answer.py | tail -n 1
42
```
"""


def test_a_page_that_is_right_passes(walk: Walk, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(RIGHT)
    walk(page)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("pending  manual", "complete  manual"),
        ("# exit 4", ""),
        ("run_a\n$", "run_b\n$"),
        ("\n42", "\n43"),
        ("-q init", "-q runs list"),
        ("```python", "```pyton"),
        ("run_b...", "run_c..."),
    ],
)
def test_a_page_that_is_wrong_does_not(walk: Walk, tmp_path: Path, right: str, wrong: str) -> None:
    page = tmp_path / "page.md"
    assert right in RIGHT
    page.write_text(RIGHT.replace(right, wrong))
    with pytest.raises(AssertionError, match=r"page\.md:"):
        walk(page)
