"""report.json: the report for programs; ``docs/report.schema.json`` describes it.

``python -m drm.reporting.json_report`` prints that schema, made from the annotations of the values.
"""

from __future__ import annotations

import enum
import json
import types
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from drm.model.errors import ConfigError, DrmError
from drm.reporting import view
from drm.reporting.analysis import analyse, numbers_of
from drm.reporting.attention import attention
from drm.reporting.codec import columns_of, decode, encode
from drm.reporting.files import read_json
from drm.reporting.findings import Numbers, RunAnalysis
from drm.reporting.report import Attention, Report
from drm.reporting.results import check_version

__all__ = ["SCHEMA_VERSION", "document", "json_schema", "read_report", "render_json"]

SCHEMA_VERSION = 2
_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # null: a number that JSON cannot hold
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What follows from the facts of a report, and stands beside them. ``analyses``: one per run, in order."""

    numbers: Numbers
    attention: tuple[Attention, ...]
    analyses: tuple[RunAnalysis, ...]


def render_json(report: Report) -> str:
    """Return the text of report.json."""
    return json.dumps(document(report), separators=(",", ":"), allow_nan=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Return what report.json holds: the facts, and what follows from them. Charts are drawn from it."""
    findings = Findings(
        numbers=numbers_of(report),
        attention=tuple(attention(report)),
        analyses=tuple(analyse(run.name, run.summary) for run in view.all_runs(report)),
    )
    return {"schema_version": SCHEMA_VERSION, **encode(report), **encode(findings)}


def read_report(path: Path) -> Report:
    """Return the report that ``render_json`` gave; ConfigError in one line for damage or a newer format."""
    remedy = "run `drm report` again"
    data = read_json(Path(path), remedy=remedy)
    check_version(data.get("schema_version"), SCHEMA_VERSION, path, oldest=SCHEMA_VERSION)
    try:
        return decode(Report, data)
    except DrmError as error:
        raise ConfigError(f"{path}: is damaged ({error})", remedy=remedy) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of report.json."""
    definitions: dict[str, Any] = {}
    _schema(Report, definitions)
    _schema(Findings, definitions)
    top, findings = definitions.pop("Report"), definitions.pop("Findings")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DRM report",
        "type": "object",
        "required": ["schema_version", *top["required"], *findings["required"]],
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            **top["properties"],
            **findings["properties"],
        },
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(item for item in arguments if item is not types.NoneType)
        return {"anyOf": [_schema(inner, definitions), {"type": "null"}]}
    columnar = columns_of(kind)
    if columnar is not None:
        hints = get_type_hints(columnar)
        columns = {f.name: {"type": "array", "items": _schema(hints[f.name], definitions)} for f in fields(columnar)}
        return _define(f"{columnar.__name__}Columns", columns, definitions)
    if origin is tuple and Ellipsis in arguments:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        rows = [_schema(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": rows, "minItems": len(rows), "maxItems": len(rows)}
    if kind in _SCALARS:
        return _SCALARS[kind]
    if issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    name = str(kind.__name__)
    if name not in definitions:
        definitions[name] = {}  # claimed first: runs hold runs
        hints = get_type_hints(kind)
        keys = [field.name for field in fields(kind)]
        _define(name, {key: _schema(hints[key], definitions) for key in keys}, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _define(name: str, properties: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    definitions[name] = {"type": "object", "required": list(properties), "properties": properties}
    return {"$ref": f"#/$defs/{name}"}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
