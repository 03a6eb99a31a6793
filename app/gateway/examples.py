"""Builds one example of a schema from the examples of its members, so that none is written twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schemas = Mapping[str, Any]


def example_of(schema: Mapping[str, Any], schemas: Schemas) -> Any:
    """A value that fits: the schema's first example, or one put together from its members'.

    `schemas` is what `$ref` names. Asserts that there is an example for every member, so that none is forgotten.
    """
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    for word in ("default", "const"):
        if word in schema:
            return schema[word]
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    assert "properties" in schema, f"a member without an example: {schema}"
    return {name: example_of(member, schemas) for name, member in schema["properties"].items()}
