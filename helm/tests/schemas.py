"""Strict schemas: an unknown or misspelt field of any object is an error, for the oldest and the newest Kubernetes and one between.

Kubernetes' own come with the Python package kubernetes-validate; those of custom resources from the operators' CRDs, which
scripts/helm fetches as Go modules; Strimzi's, which are in no module, from schemas/.
"""

import pathlib

import jsonschema
import kubernetes_validate
import yaml

from chart import HERE, label

KUBERNETES = ["1.31", "1.34", "1.37"]


def definitions(folder):
    """The operators' CRDs: Strimzi's, and those of the folder, if there is one."""
    folders = [HERE / "schemas"] + ([pathlib.Path(folder)] if folder else [])
    paths = [path for one in folders for path in sorted(one.glob("*.yaml"))]
    return [yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) for path in paths]


class Custom:
    """Schemas of custom resources: (group/version, kind) -> validator."""

    def __init__(self, folder):
        self.validators = {}
        for crd in definitions(folder):
            for version in crd["spec"]["versions"]:
                api = f"{crd['spec']['group']}/{version['name']}"
                self._add(api, crd["spec"]["names"]["kind"], version["schema"]["openAPIV3Schema"])

    def _add(self, api, kind, schema):
        self.validators[api, kind] = jsonschema.Draft7Validator(strict(schema, top=True))

    def problems(self, item):
        validator = self.validators.get((item["apiVersion"], item["kind"]))
        if not validator:
            return None
        return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(item)]


def strict(schema, top=False):
    """A CRD's schema, closed wherever an API server would drop what it does not know."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key not in ("properties", "format")}
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        keeps = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not keeps and schema.get("type") == "object":
            made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if top:
        made.setdefault("properties", {}).update({key: {} for key in ("apiVersion", "kind", "metadata")})
    return made


def builtin(item):
    group = item["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def check(render, custom, tally, left_out):
    """Every object of a render against the schema of its kind; returns how many pairs were looked at."""
    looked = 0
    for item in render.objects:
        if builtin(item):
            for version in KUBERNETES:
                looked += 1
                try:
                    kubernetes_validate.validate(item, version, strict=True)
                    tally.that(True, "")
                except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
                    where = ".".join(map(str, getattr(error, "path", [])))
                    tally.that(False, f"{render.scenario}: {label(item)}: Kubernetes {version}: {where}: {error.message}")
            continue
        problems = custom.problems(item)
        if problems is None:
            left_out.add(f"schema of {item['apiVersion']} {item['kind']}")
            continue
        looked += 1
        tally.that(not problems, f"{render.scenario}: {label(item)}: {problems}")
    return looked
