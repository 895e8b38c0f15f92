"""From config.json back to a configuration, also where it was written by an older lvlib."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from lvlib.configs.config import STAGES, Config, DataConfig, Named
from lvlib.configs.kinds import fits, from_json, in_words
from lvlib.errors import UserError, shortened
from lvlib.training.config import TrainingConfig

PARTS = ("data", *STAGES, "training")


def config_from_dict(values: Mapping[str, Any], table: Mapping[str, Named]) -> Config:
    """The inverse of `Config.to_dict`, also after a trip through JSON. Other keys than the parts' are passed over.

    table: configurations whose classes may be named. A field that is not there gets its default. A stage without a
    "class", as before lvlib 0.2, has that of the configuration called values["name"]. Raises UserError that says what
    is wrong.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"it must be a table of parts, not {_short(values)}")
    parts = {}
    for name in PARTS:
        fields = values.get(name)
        if fields is None and name in ("prior", "refiner"):
            continue
        if not isinstance(fields, dict):
            raise UserError(f"{name} must be a table of fields, not {_short(fields)}")
        kind = {"data": DataConfig, "training": TrainingConfig}.get(name) or _stage_class(name, fields, values, table)
        parts[name] = _part(name, kind, fields)
    return Config(**parts)


def _part(name: str, kind: type, values: dict) -> Any:
    values = {field: value for field, value in values.items() if field != "class"}
    fields, kinds = dataclasses.fields(kind), get_type_hints(kind)
    if extra := [f"{name}.{field}" for field in values if field not in {field.name for field in fields}]:
        raise UserError(f"this lvlib has no {', '.join(extra)}: a later one wrote it, or somebody changed it by hand")
    for field in fields:
        if field.name not in values and field.default is dataclasses.MISSING:
            raise UserError(f"{name}.{field.name} is missing")
        if field.name in values and not fits(values[field.name], kinds[field.name]):
            raise UserError(f"{name}.{field.name} must be {in_words(kinds[field.name])}, not "
                            f"{_short(values[field.name])}")
    try:
        return kind(**{field: from_json(value) for field, value in values.items()})
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _stage_class(name: str, fields: dict, values: Mapping[str, Any], table: Mapping[str, Named]) -> type:
    stages = [stages[name] for named in table.values() if name in (stages := named.config.stages)]
    classes = {type(stage).__name__: type(stage) for stage in stages}
    if "class" in fields:
        wanted = fields["class"]
        if not isinstance(wanted, str) or wanted not in classes:
            raise UserError(f"{name} is of the class {_short(wanted)}; this lvlib has {', '.join(classes)}")
        return classes[wanted]
    named = values.get("name")
    part = getattr(table[named].config, name) if isinstance(named, str) and named in table else None
    if part is None:
        raise UserError(f'{name} does not say its class: add "class": one of {", ".join(classes)}')
    return type(part)


def _short(value: Any) -> str:
    return shortened(repr(value), 40)
