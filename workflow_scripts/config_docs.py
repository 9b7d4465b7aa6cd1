"""Generate docs/config.md and docs/config.schema.json from the models; a test fails on drift.

python -m workflow_scripts.config_docs
"""

import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workflow_scripts.config import Config
from workflow_scripts.config_check import ROOT
from workflow_scripts.files import write_text

_HEAD = """# Configuration

Generated from `workflow_scripts/config.py` by `python -m workflow_scripts.config_docs`: do not
edit.

`config.yaml` is the embedded default. Your own file goes over it, key by key (lists are replaced
whole): `snakemake all --configfile my.yaml`. Single keys: `snakemake all --config name=trial`.
Unknown keys, wrong types and names that point at nothing are refused before any job runs. Editors
check a file against `docs/config.schema.json`. Accounts and tokens come from the environment only.

`<name>` stands for a name of your choice: small letters, digits, `-` and `_`.
"""


def _type(annotation: Any) -> str:
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        names = ["null" if a is types.NoneType else _type(a) for a in arguments]
        return " or ".join(dict.fromkeys(names))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} × {_type(arguments[0])}"
    if origin is dict:
        return f"`<name>`: {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return plain.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, BaseModel):
        return "see there"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _models(annotation: Any) -> list[type[BaseModel]]:
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [m for f in annotation.model_fields.values() for m in _models(f.annotation)]
        return [annotation, *inner]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def reference() -> str:
    """The Markdown reference: a table a model."""
    parts = [_HEAD]
    for model in dict.fromkeys(_models(Config)):
        text = " ".join((model.__doc__ or "").split())
        parts.append(f"\n## {model.__name__}\n\n{text}\n\n| key | type | default | meaning |")
        parts.append("|---|---|---|---|")
        for name, field in model.model_fields.items():
            meaning = field.description or ""
            parts.append(
                f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |"
            )
    return "\n".join(parts) + "\n"


def schema() -> str:
    """The JSON schema, for editors."""
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def generated(docs: Path = ROOT / "docs") -> dict[Path, str]:
    """Each generated file and its text."""
    return {docs / "config.md": reference(), docs / "config.schema.json": schema()}


if __name__ == "__main__":
    for path, text in generated().items():
        write_text(path, text)
