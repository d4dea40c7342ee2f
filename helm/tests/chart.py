"""The chart as a cluster sees it: golden renders as objects, and the pods in them. Used by every check.

What must stay true: a YAML document with a key twice is an error, as it is for an API server.
"""

import copy
import pathlib

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent / "ledgerline"
GOLDEN = HERE / "golden"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "lt", "ledgerline"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML without repeated keys."""


def _mapping(loader, node, deep=False):
    seen = set()
    for key, _ in node.value:
        name = loader.construct_object(key, deep=True)
        if name in seen:
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {name} is there twice")
        seen.add(name)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(text):
    return [document for document in yaml.load_all(text, Loader) if document]


class Render:
    """What `helm template` made of one scenario."""

    def __init__(self, scenario, text):
        self.scenario, self.text = scenario, text
        self.objects = documents(text)

    def of(self, *kinds):
        return [item for item in self.objects if item["kind"] in kinds]

    def named(self, kind, name):
        return next((item for item in self.of(kind) if item["metadata"]["name"] == name), None)

    def pods(self):
        """Every pod of the chart's own: the object it comes from, and its template."""
        for item in self.objects:
            if item["kind"] in ("Deployment", "Job"):
                yield item, item["spec"]["template"]
            elif item["kind"] == "CronJob":
                yield item, item["spec"]["jobTemplate"]["spec"]["template"]
            elif item["kind"] == "Pod":
                yield item, item

    def config(self, template):
        """The configuration file that a pod mounts, as text."""
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        source = self.named("ConfigMap", volumes["config"]["configMap"]["name"])
        return source["data"]["ledgerline.toml"] if source else None

    def changed(self, change):
        """A copy in which something is spoiled."""
        spoiled = copy.copy(self)
        spoiled.objects = copy.deepcopy(self.objects)
        change(spoiled)
        return spoiled


def label(item):
    return f"{item['kind']} {item['metadata']['name']}"


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def goldens():
    return [Render(name, (GOLDEN / f"{name}.yaml").read_text()) for name in SCENARIOS]


class Tally:
    """Counts what was asserted, and keeps what did not hold."""

    def __init__(self):
        self.assertions, self.problems = 0, []

    def that(self, holds, problem):
        self.assertions += 1
        if not holds:
            self.problems.append(problem)
