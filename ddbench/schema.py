"""JSON Schema of recipes, for editors: the method and network blocks as what they may be."""

from __future__ import annotations

from typing import Any

from ddbench import augment, methods, networks, plugins
from ddbench.recipe import Recipe


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file, ``extends`` included.

    Loading accepts every name in place of a block that has one (``method: dc``).
    """
    schema = Recipe.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    families = {
        "Method": [methods.method_class(name) for name in methods.names()],
        "Network": [
            plugins.load(networks.__name__, name).NETWORK
            for name in plugins.names(networks.__name__)
        ],
        "Augmentation": [augment.load(name) for name in augment.names()],
    }
    for base, members in families.items():
        options: list[dict[str, Any]] = []
        for member in members:
            part = member.model_json_schema(by_alias=True)
            definitions.update(part.pop("$defs", {}))
            definitions[member.__name__] = part
            options.append({"$ref": f"#/$defs/{member.__name__}"})
        definitions[base] = {"anyOf": [{"type": "string"}, *options]}
    schema["properties"]["dataset"] = {
        "anyOf": [{"type": "string"}, {"$ref": "#/$defs/DatasetSpec"}]
    }
    schema["properties"]["extends"] = {
        "type": "string", "description": "recipe that this one is merged over",
    }  # fmt: skip
    schema.pop("required", None)  # what is missing may stand in the file that is extended
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
