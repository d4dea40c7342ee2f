"""values.yaml, values.schema.json, the README's table, and the program's configuration say the same. Needs no helm.

What must stay true: every key of the values has a comment, a description in the schema and a line in the README; a key renamed
in one place alone turns this red.
"""

import json
import re
import tomllib

import jsonschema
import yaml

from chart import CHART, HERE

TABLE = ("<!-- values -->", "<!-- end of values -->")


def leaves(node, path=()):
    """Every key, with its value; those of a map that has entries are gone into."""
    for key, value in node.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def comments(text):
    """The comment above each key, by path."""
    found, stack, pending = {}, [], []
    for line in text.splitlines():
        key = re.match(r"^( *)([\w.-]+):", line)
        if line.strip().startswith("#"):
            pending.append(line.strip().lstrip("# "))
        elif key:
            depth = len(key[1])
            stack = [entry for entry in stack if entry[0] < depth] + [(depth, key[2])]
            found[tuple(name for _, name in stack)] = " ".join(pending)
            pending = []
        else:
            pending = []
    return found


class Schema:
    def __init__(self, schema):
        self.root = schema

    def resolve(self, node):
        for part in [] if "properties" in node else node.get("allOf", []):
            if "$ref" in part:
                node = self.root
                for name in part["$ref"].removeprefix("#/").split("/"):
                    node = node[name]
        return node

    def at(self, path):
        node = self.root
        for key in path:
            node = self.resolve(node)
            if node.get("type") == "object" and not {"properties", "additionalProperties"} & set(node):
                return node  # open: Kubernetes' own business
            node = node.get("properties", {}).get(key) or node.get("additionalProperties")
            if not isinstance(node, dict):
                return None
        return node

    def paths(self, node=None, path=()):
        node = self.resolve(self.root if node is None else node)
        for key, child in node.get("properties", {}).items():
            yield (*path, key), child
            yield from self.paths(child, (*path, key))


def check(tally, text=None, schema=None, readme=None, golden=None):
    text = text or (CHART / "values.yaml").read_text()
    schema = Schema(schema or json.loads((CHART / "values.schema.json").read_text()))
    readme = readme if readme is not None else (CHART / "README.md").read_text()
    values, said = yaml.safe_load(text), comments(text)
    jsonschema.Draft7Validator.check_schema(schema.root)
    keys = {path for path, _ in leaves(values)}
    for path in sorted(keys):
        name = ".".join(path)
        if len(path) > 1 and "properties" not in schema.resolve(schema.at(path[:-1]) or {}):
            continue  # an entry of an open map
        known = schema.at(path)
        tally.that(said.get(path) , f"values.yaml: {name} has no comment")
        tally.that(known is not None, f"values.schema.json: does not know {name}")
        if isinstance(known, dict):
            tally.that(known.get("description") or "workers" in path, f"values.schema.json: {name} has no description")
    for path, node in schema.paths():
        if path[0] in ("global", "enabled"):
            continue
        tally.that(path in keys, f"values.yaml: {'.'.join(path)} is in the schema only")
        if node.get("type") == "object" and "properties" in node:
            tally.that("additionalProperties" in node, f"values.schema.json: {'.'.join(path)} is open")
    tally.that(schema.root.get("additionalProperties") is False, "values.schema.json: the root is open")
    tally.that("$ref\": \"http" not in json.dumps(schema.root), "values.schema.json: refers to what lies elsewhere")
    between = readme.partition(TABLE[0])[2].partition(TABLE[1])[0].strip()
    tally.that(between == table(values, said), "README.md: the table of values is old; run `scripts/helm docs`")
    crate = tomllib.loads((HERE.parent.parent / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    tally.that(told == crate, f"Chart.yaml: appVersion is {told}, and the program is {crate}")


def table(values, said):
    """The values as a table, one line for each that has no entries of its own; kinds of topics but the first are left out."""
    first = next(iter(values["kafka"]["topics"]))
    rows = ["| key | default | |", "|---|---|---|"]
    for path, value in leaves(values):
        if path[:2] == ("kafka", "topics") and len(path) > 2:
            if path[2] != first:
                continue
            path = (*path[:2], "<kind>", *path[3:])
            if len(path) == 3:
                continue
        elif isinstance(value, dict) and value or not said.get(path):
            continue
        if isinstance(value, dict) and value:
            continue
        where = path if "<kind>" not in path else (*path[:2], first, *path[3:])
        default = default_of_kinds(values["kafka"]["topics"], path[3:]) if "<kind>" in path else code(value)
        note = outside_code(said.get(where, "").replace("|", "\\|"))
        rows.append(f"| `{'.'.join(path)}` | {default} | {note} |")
    return "\n".join(rows)


def code(value):
    return f"`{json.dumps(value)}`".replace("|", "\\|")


def default_of_kinds(topics, path):
    """The default of a kind's key: the first kind's, and after it those that differ."""
    of = {}
    for kind, value in topics.items():
        for key in path:
            value = value[key]
        of[kind] = value
    if all(value == kind for kind, value in of.items()):
        return "the kind's name"
    common, *_ = of.values()
    others = [f"{kind} {code(value)}" for kind, value in of.items() if value != common]
    return "; ".join([code(common), *others])


def outside_code(text):
    """A `<` that is no code would be taken for HTML; within code it stands for itself."""
    parts = text.split("`")
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))


def write_readme():
    text = (CHART / "values.yaml").read_text()
    path = CHART / "README.md"
    before, _, rest = path.read_text().partition(TABLE[0])
    after = rest.partition(TABLE[1])[2]
    made = f"{before}{TABLE[0]}\n{table(yaml.safe_load(text), comments(text))}\n{TABLE[1]}{after}"
    path.write_text(made)
