"""Sample runs: four analyses of dyno pulls, finished, cut short, failed and under way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

from dynostore.ids import derived_id
from dynostore.models import Record, Run, RunFile
from dynostore.samples.base import before

_CONFIG = {"rows": 11, "columns": 9, "clamp_percent": 15.0, "smoothing_passes": 2, "fuel": "E10"}
_Files = tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class _Story:
    """What became of one run.

    :ivar age_hours: how long ago it began.
    :ivar files: the name and size in bytes of each of its files.
    """

    name: str
    status: str
    age_hours: float
    lasted_s: float
    facts: dict[str, Any]
    files: _Files


_STORIES = (
    _Story(
        "demo-run-pull-07",
        "complete",
        6 * 24 + 3,
        41.8,
        {
            "source": "jetdrive",
            "current_stage": "export",
            "progress_percent": 100,
            "input_filename": "pull_07.csv",
            "results_summary": {
                "avg_correction": 1.8,
                "max_correction": 11.5,
                "cells_corrected": 168,
                "rows_read": 41_233,
            },
        },
        (
            ("input/pull_07.csv", 2_873_112),
            ("output/VE_Correction.csv", 2_204),
            ("output/Hit_Count.csv", 1_311),
            ("output/Diagnostics_Report.txt", 5_120),
        ),
    ),
    _Story(
        "demo-run-pull-11",
        "partial",
        2 * 24 + 5,
        63.2,
        {
            "source": "jetdrive",
            "current_stage": "export",
            "progress_percent": 80,
            "input_filename": "pull_11.csv",
            "results_summary": {
                "avg_correction": -2.4,
                "max_correction": 9.0,
                "cells_corrected": 41,
            },
            "error_info": {"stage": "export", "message": "the rear cylinder has 12 samples only"},
        },
        (("input/pull_11.csv", 1_102_440), ("output/VE_Correction.csv", 2_198)),
    ),
    _Story(
        "demo-run-upload-3",
        "error",
        20,
        0.4,
        {
            "source": "upload",
            "current_stage": "load",
            "progress_percent": 10,
            "input_filename": "session_export.csv",
            "error_info": {"stage": "load", "message": "missing required columns: MAP (kPa)"},
        },
        (("input/session_export.csv", 166),),
    ),
    _Story(
        "demo-run-pull-12",
        "processing",
        0.2,
        95.0,
        {
            "source": "jetdrive",
            "current_stage": "smoothing",
            "progress_percent": 55,
            "input_filename": "pull_12.csv",
        },
        (("input/pull_12.csv", 2_640_908),),
    ),
)


def records(now: dt.datetime) -> Iterator[Record]:
    """Give the runs and their files, each run before its files."""
    for story in _STORIES:
        created = before(now, hours=story.age_hours)
        ended = created + dt.timedelta(seconds=story.lasted_s)
        yield Run(
            id=story.name,
            status=story.status,
            created_at=created,
            updated_at=ended,
            config_snapshot=_CONFIG,
            metadata={"operator": "Kim"},
            **story.facts,
        )
        for filename, size_bytes in story.files:
            yield RunFile(
                id=derived_id("run_files", story.name, filename),
                run=story.name,
                filename=filename,
                file_type=filename.rpartition(".")[2],
                size_bytes=size_bytes,
                sha256=hashlib.sha256(f"{story.name}/{filename}".encode()).hexdigest(),
                storage_path=f"{story.name}/{filename}",
                created_at=created if filename.startswith("input/") else ended,
            )
