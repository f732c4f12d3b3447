"""What of JSON Schema our own schema uses, judged: a value → what is wrong with it. So the tests need no library."""

import re

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def wrong(value, schema, root, place=""):
    """Everything that is wrong, each with its place."""
    if schema is True:
        return []
    out = []
    if "$ref" in schema:
        out += wrong(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    if "type" in schema and not _is(value, schema["type"]):
        return [*out, f"{place}: {value!r} is no {schema['type']}"]
    for one in schema.get("allOf", ()):
        out += wrong(value, one, root, place)
    for word in ("anyOf", "oneOf"):
        if word in schema and all(wrong(value, one, root, place) for one in schema[word]):
            out.append(f"{place}: {value!r} fits none of {len(schema[word])}")
    if "not" in schema and not wrong(value, schema["not"], root, place):
        out.append(f"{place}: it must not be so")
    if "if" in schema:
        branch = "else" if wrong(value, schema["if"], root, place) else "then"
        out += wrong(value, schema.get(branch, True), root, place)
    if "const" in schema and value != schema["const"]:
        out.append(f"{place}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        out.append(f"{place}: {value!r} is none of {schema['enum']}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        out.append(f"{place}: {value!r} does not match")
    if isinstance(value, list):
        for at, one in enumerate(value):
            out += wrong(one, schema.get("items", True), root, f"{place}/{at}")
    return out + _object(value, schema, root, place) if isinstance(value, dict) else out


def _object(value, schema, root, place):
    out = [f"{place}: {name!r} is missing" for name in schema.get("required", ()) if name not in value]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, one in value.items():
        if name in properties:
            out += wrong(one, properties[name], root, f"{place}/{name}")
        elif others is False:
            out.append(f"{place}: there is no {name!r}")
        else:
            out += wrong(one, others, root, f"{place}/{name}")
    return out


def _is(value, names):
    names = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, TYPES[name]) for name in names)
