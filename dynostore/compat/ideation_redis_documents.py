"""Saying rows of ideation in the old program's documents, so that it reads them as its own.

Its reader passes over keys that it does not know. So they take what it has no place for:
``metadata`` of all but messages, ``earlier_drafts`` before the one that it knows, and in ``_null``
the names of the lists that are empty to it and nothing to us. Keys of others that stand in a
document are seen as metadata, and stay where they are for as long as the metadata have them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from dynostore.legacy.ideation_documents import EARLIER_DRAFTS
from dynostore.legacy.ideation_words import NULL
from dynostore.models import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.models.base import Record

Document = dict[str, Any]

_COLUMNS: dict[type[Record], str] = {
    IdeationSession: "id project_name user_id status data_source version created_at updated_at",
    IdeationMessage: "id session_id role content timestamp maturity_delta",
    IdeationRequirement: "key session_id description type priority category_id created_at",
    IdeationMaturity: "session_id score level categories can_submit gaps updated_at",
    IdeationDraft: "key session_id title version sections status created_at",
    IdeationStory: "key session_id title as_a i_want so_that acceptance_criteria"
    " linked_requirements priority created_at",
}
_LISTS = {"categories", "gaps", "sections", "acceptance_criteria", "linked_requirements"}
"""What the old program goes through without looking whether it is there."""


def document_of(model: type[Record], row: Mapping[str, Any], old: Document | None) -> Document:
    """Give the document of a row.

    :param row: its values by column.
    :param old: the document that says what the row was before.
    """
    columns = _COLUMNS[model].split()
    document = {"id" if column == "key" else column: _said(row[column]) for column in columns}
    nothing = [name for name in columns if name in _LISTS and row[name] is None]
    document |= {name: [] for name in nothing}
    if nothing:
        document[NULL] = nothing
    known = {*document, "metadata", NULL, EARLIER_DRAFTS}
    strange = {name: value for name, value in (old or {}).items() if name not in known}
    metadata = row["metadata"]
    if isinstance(metadata, dict):
        strange = {n: v for n, v in strange.items() if n in metadata and metadata[n] == v}
        document |= strange
        own = {name: value for name, value in metadata.items() if name not in strange}
        metadata = own if own or not strange else None
    if metadata is not None or model is IdeationMessage:
        document["metadata"] = metadata
    return document


def as_text(document: Document) -> bytes:
    """Give a document as the old program writes it: ASCII alone."""
    return json.dumps(document).encode()


def draft_text(rows: list[dict[str, Any]], old: Mapping[str, Document]) -> bytes:
    """Give the document of the latest draft, those before it inside.

    :param rows: at least one, the latest first.
    :param old: the documents of before, by key.
    """
    latest, *earlier = [document_of(IdeationDraft, row, old.get(row["key"])) for row in rows]
    if earlier:
        latest[EARLIER_DRAFTS] = earlier
    return as_text(latest)


def _said(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
