"""How a model's columns and a verb's arguments become the fields of a pydantic model."""

from __future__ import annotations

import datetime as dt
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from dynostore import errors
from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
)
from dynostore.models.base import Record, key_field
from dynostore.models.todos import PlanField

try:
    import pydantic as pydantic
    from playhouse.pydantic_utils import to_pydantic
except ImportError as missing:
    raise errors.MissingExtra(
        "schemas need the extra 'pydantic'", hint="pip install 'dynostore[pydantic]'"
    ) from missing

SchemaT = TypeVar("SchemaT", bound="Schema")

_MUST = inspect.Parameter.empty
_MAY: Any = object()  # left out, nothing is said; None would say something


class Schema(pydantic.BaseModel):
    """The base of all: keys that the record does not have are refused."""

    model_config = pydantic.ConfigDict(extra="forbid")

    if TYPE_CHECKING:
        # The fields are there when the program runs; a type checker sees any.
        def __getattr__(self, name: str) -> Any: ...

    def given(self) -> dict[str, Any]:
        """Give what was said and nothing else: the keyword arguments of the verb."""
        return self.model_dump(exclude_unset=True)


class Response(Schema):
    """The base of what is given back: made of a record, with ``model_validate``.

    A key that is not known here is left out, since a newer server may send some.
    """

    model_config = pydantic.ConfigDict(extra="ignore", from_attributes=True)


def of_record(record: type[Record], **more: Any) -> Callable[[type[SchemaT]], type[SchemaT]]:
    """Fill a class with the columns of a record."""
    return lambda schema: _columns_of(schema, record, more)


def for_verb(
    verb: Callable[..., Any], *records: type[Record], where: str = "", **rules: Any
) -> Callable[[type[SchemaT]], type[SchemaT]]:
    """Fill a class with the arguments of a verb.

    :param where: arguments that say which record is meant; in a web API they are in the path.
    :param rules: what the verb demands beyond the column, by argument.
    """
    return lambda schema: _arguments_of(schema, verb, records, where.split(), rules)


def _columns_of(schema: type[Any], record: type[Record], more: Mapping[str, Any]) -> type[Any]:
    """Give ``schema`` with a field for each column of the record.

    :param more: types of further attributes, by name.
    """
    generated = to_pydantic(record, exclude_autofield=False, base_model=schema)
    fields: dict[str, Any] = {
        column: (type_of(field), ...) for column, field in record._meta.columns.items()
    }
    fields |= {name: (annotation, ...) for name, annotation in more.items()}
    return _finished(schema, generated, fields)


def _arguments_of(
    schema: type[Any],
    verb: Callable[..., Any],
    records: Sequence[type[Record]],
    where: Sequence[str],
    rules: Mapping[str, Any],
) -> type[Any]:
    """Give ``schema`` with a field for each argument of the verb.

    :param verb: a repository's method, or a TypedDict of which it takes many.
    :param records: whose columns the arguments are; an id of another name is the first one's key.
    :param where: arguments to leave out.
    :param rules: types of arguments that are not what a column is, by name.
    """
    fields: dict[str, Any] = {}
    for name, default in _arguments(verb):
        if name in where:
            continue
        fields[name] = (
            rules[name] if name in rules else type_of(_column(records, name), null=default is None),
            _default(default),
        )
    return _finished(schema, schema, fields)


def _finished(schema: type[Any], base: type[Any], fields: Mapping[str, Any]) -> type[Any]:
    return pydantic.create_model(
        schema.__name__,
        __base__=base,
        __module__=schema.__module__,
        __doc__=schema.__doc__,
        **fields,
    )


def _arguments(verb: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Give each argument's name and default: ``_MUST`` has none, ``_MAY`` can be left out."""
    if is_typeddict(verb):
        yield from _keys(verb)
        return
    hints = get_type_hints(verb)
    for name, parameter in list(inspect.signature(verb).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            yield from _keys(*get_args(hints[name]))  # of Unpack[a TypedDict]
        else:
            yield name, parameter.default


def _keys(typed: Any) -> Iterator[tuple[str, Any]]:
    # Not __required_keys__, which takes annotations that are text for required.
    for name, hint in get_type_hints(typed, include_extras=True).items():
        yield name, _MUST if typed.__total__ and get_origin(hint) is not NotRequired else _MAY


def _default(default: Any) -> Any:
    if default is _MUST:
        return ...
    if default is _MAY:
        return pydantic.Field(default=None, json_schema_extra=_drop_default)
    return default


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _column(records: Sequence[type[Record]], name: str) -> Any:
    for record in records:
        if name in record._meta.columns:
            return record._meta.columns[name]
    if not name.endswith("_id"):
        raise AssertionError(f"no column for the argument {name!r}")
    return key_field(records[0])


def type_of(field: Any, *, null: bool = False, limits: Any = None) -> Any:
    """Give the type that accepts what the field's ``check`` accepts, and gives what it gives.

    :param null: accept None too, though the column does not.
    :param limits: narrower ones than the field's own.
    """
    null = null or field.null
    while isinstance(field, ReferenceField):
        field = field.rel_field
    limited: Any = Annotated[_plain(field), limits or _limits(field)]
    known: Any = Annotated[limited, pydantic.BeforeValidator(_reader(field))]
    return known | None if null else known


def _reader(field: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value is None:
            raise ValueError("must not be empty")
        # In JSON a time is text; pydantic alone would take numbers, too, for times.
        if isinstance(field, UtcTimeField) and isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        return field.check(value)

    return read


def _plain(field: Any) -> Any:
    """Give the type without its limits."""
    if isinstance(field, UtcTimeField):
        return pydantic.AwareDatetime
    if isinstance(field, UuidField):
        return str
    if isinstance(field, PlanField):
        return dict[str, Any]
    if isinstance(field, JsonField):
        return Any
    generated = to_pydantic(field.model, include=[field], exclude_autofield=False)
    annotation = generated.model_fields[field.column_name].annotation
    if get_origin(annotation) in (Union, types.UnionType):  # with None
        (annotation,) = (arm for arm in get_args(annotation) if arm is not type(None))
    return annotation


def _limits(field: Any) -> Any:
    """Give the limits for JSON Schema; ``check`` has the last word."""
    if isinstance(field, WholeNumberField):
        return pydantic.Field(ge=field.low, le=field.high)
    if isinstance(field, StringField) and not field.choices:
        least = 1 if field.primary_key else None
        return pydantic.Field(min_length=least, max_length=field.max_length)
    if isinstance(field, UuidField):
        return pydantic.Field(json_schema_extra={"format": "uuid"})
    return pydantic.Field()
