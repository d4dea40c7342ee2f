"""What needs helm itself: goldens are what it renders, with Helm 3 and Helm 4 alike; nothing but the values moves a render; what
cannot work is refused, with advice (refusals.yaml). `HELM_PROGRAMS` names the programs, separated by `:`.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

from chart import CHART, GOLDEN, HERE, NAMESPACE, RELEASE, SCENARIOS, Render, label
from parity import leaves

VERSIONS = ["1.31.0", "1.34.0", "1.37.0"]
NEWEST = "1.37.0"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


class Helm:
    def __init__(self, program, **environment):
        self.program, self.environment = program, environment
        self.folder = tempfile.TemporaryDirectory(prefix="helm-home-")  # goes with this object
        self.home = self.folder.name
        self.name = self.run("version", "--short").stdout.split("+")[0].strip()

    def run(self, *args, stdin=None):
        folder = {key: f"{self.home}/{key}" for key in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
        environment = {"PATH": os.environ["PATH"], "HOME": self.home, **folder, **self.environment}
        return subprocess.run([self.program, *args], capture_output=True, text=True, env=environment, input=stdin)

    def template(self, *args, chart=CHART, values=None, release=RELEASE, version=NEWEST):
        done = self.run("template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", version, *args,
                        *(["--values", "-"] if values is not None else []), stdin=None if values is None else json.dumps(values))
        # Helm 4 keeps an empty line at the end of a document that Helm 3 drops.
        return done.returncode, re.sub(r"\n+(---\n|\Z)", r"\n\1", done.stdout), done.stderr


def values_of(scenario):
    return CHART / "ci" / f"{scenario}-values.yaml"


def programs(**environment):
    return [Helm(path, **environment) for path in os.environ.get("HELM_PROGRAMS", "").split(":") if path]


def write_goldens(helm):
    for scenario in SCENARIOS:
        code, text, error = helm.template("--values", str(values_of(scenario)))
        if code:
            raise SystemExit(f"{scenario}: {error}")
        (GOLDEN / f"{scenario}.yaml").write_text(text)


def goldens(helm, tally):
    for scenario in SCENARIOS:
        path = GOLDEN / f"{scenario}.yaml"
        code, text, error = helm.template("--values", str(values_of(scenario)))
        tally.that(code == 0, f"{helm.name}: {scenario}: {error}")
        tally.that(path.is_file() and path.read_text() == text,
                   f"{helm.name}: {scenario}: the golden render is old; run `scripts/helm goldens` and look at what changed")


def lint(helm, tally):
    for scenario in SCENARIOS:
        for version in VERSIONS:
            done = helm.run("lint", "--strict", "--quiet", str(CHART), "--kube-version", version, "--values", str(values_of(scenario)))
            tally.that(done.returncode == 0, f"{helm.name}: lint of {scenario} for {version}: {done.stdout}{done.stderr}")


def i01_same_bytes(helm, tally):
    for scenario in SCENARIOS:
        golden = (GOLDEN / f"{scenario}.yaml").read_text()
        _, text, _ = Helm(helm.program).template("--values", str(values_of(scenario)))
        tally.that(text == golden, f"{scenario}: another home renders something else")


def i02_upgrade(helm, tally):
    for scenario in SCENARIOS:
        _, text, _ = helm.template("--values", str(values_of(scenario)), "--is-upgrade")
        tally.that(text == (GOLDEN / f"{scenario}.yaml").read_text(), f"{scenario}: an upgrade renders something else")


def i03_versions(helm, tally):
    for scenario in SCENARIOS:
        golden = (GOLDEN / f"{scenario}.yaml").read_text()
        for version in VERSIONS[:-1]:
            code, text, error = helm.template("--values", str(values_of(scenario)), version=version)
            tally.that(code == 0 and text == golden, f"{scenario}: another render for {version}: {error}")
        _, text, _ = helm.template("--values", str(values_of(scenario)), "--api-versions", "keda.sh/v1alpha1,monitoring.coreos.com/v1")
        tally.that(text == golden, f"{scenario}: what the cluster knows changes the render")
    code, _, _ = helm.template("--values", str(values_of("minimal")), version="1.30.0")
    tally.that(code != 0, "Kubernetes 1.30 is taken")


def i07_subchart(helm, tally):
    with tempfile.TemporaryDirectory() as folder:
        parent = pathlib.Path(folder) / "parent"
        shutil.copytree(CHART, parent / "charts" / "ledgerline")
        dependency = {"name": "ledgerline", "version": "0.1.0", "alias": "ingest", "condition": "ingest.enabled"}
        meta = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
        (parent / "Chart.yaml").write_text(yaml.safe_dump(meta))
        least = yaml.safe_load(values_of("minimal").read_text())
        values = {"global": {"any": "thing"}, "ingest": {**least, "enabled": True}}
        code, text, error = helm.template(chart=parent, values=values)
        tally.that(code == 0 and "kind: Deployment" in text, f"{helm.name}: as a part of another chart: {error}")
        code, text, _ = helm.template(chart=parent, values={"ingest": {**least, "enabled": False}})
        tally.that(code == 0 and "kind: Deployment" not in text, "a part that is switched off renders something")


def required(schema, path=()):
    """Every key that may not be null, as the schema's own list says."""
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    for key in schema.get("required", []):
        yield (*path, key)
    for key, child in schema.get("properties", {}).items():
        yield from required(child, (*path, key))


def nulled(paths):
    values = yaml.safe_load(values_of("minimal").read_text())
    for path in paths:
        node = values
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = None
    return values


def packaged(helm, tally):
    """The package renders what the folder renders."""
    with tempfile.TemporaryDirectory() as folder:
        done = helm.run("package", str(CHART), "--destination", folder)
        package = next(pathlib.Path(folder).glob("*.tgz"), None)
        tally.that(package, f"{helm.name}: cannot be packaged: {done.stderr}")
        _, text, _ = helm.template("--values", str(values_of("production")), chart=package)
        tally.that(text == (GOLDEN / "production.yaml").read_text(), f"{helm.name}: the package renders something else")


def i08_null(helm, tally):
    """A key set to null is as if it had not been set, where it is optional, and is refused by name where it is not."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    every = [path for path, _ in leaves(defaults) if path[0] != "workers"]
    needed = set(required(SCHEMA["definitions"]["complete"]))
    tally.that(len(needed) > 150, f"only {len(needed)} keys may not be null")
    for depth in range(1, 1 + max(map(len, every))):
        paths = [path for path in needed if len(path) == depth]
        code, _, error = helm.template(values=nulled(paths))
        for path in paths:
            tally.that(code and f"'{path[-1]}'" in error, f"{'.'.join(path)}: null: {error[:300]}")
    limits = {(name, "resources", "limits", "memory") for name in ("worker", "replay", "migrations")}
    refused = {("podDisruptionBudget", "maxUnavailable"), *limits}  # by rules of their own
    optional = [path for path, value in leaves(defaults) if path in every and path not in needed | refused and not (value and isinstance(value, dict))]
    code, text, error = helm.template(values=nulled(optional))
    tally.that(code == 0 and "kind: Deployment" in text, f"{optional}: null: {error}")


def i09_two_releases(helm, tally):
    for scenario in SCENARIOS:
        one, two = [Render(scenario, helm.template("--values", str(values_of(scenario)), "--set", "fullnameOverride=", release=release)[1])
                    for release in ("one", "two")]
        fixed = ("KafkaUser", "ExternalSecret")  # named by what they are for
        names = [{label(item) for item in render.objects if item["kind"] not in fixed} for render in (one, two)]
        tally.that(not names[0] & names[1], f"{scenario}: two releases share {sorted(names[0] & names[1])}")
        pods = [template["metadata"]["labels"].items() for _, template in two.pods()]
        for item in one.of("Deployment", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
            chosen = item["spec"].get("selector", item["spec"].get("podSelector"))["matchLabels"].items()
            tally.that(not any(chosen <= labels for labels in pods), f"{scenario}: {label(item)} selects pods of another release")


def i18_new_names(helm, tally):
    """The migration is another Job when what it runs changes, and the same one when anything else does."""
    def job(*args):
        render = Render("", helm.template("--values", str(values_of("minimal")), *args)[1])
        jobs = [item for item in render.of("Job") if "migrate" in item["metadata"]["name"]]
        return jobs[0]["metadata"]["name"], json.dumps(jobs[0]["spec"]["template"], sort_keys=True)
    name, template = job()
    for change in ("image.tag=2.0.0", "database.existingSecret=other", "database.statementTimeoutMs=29000", "migrations.backoffLimit=1"):
        tally.that(job("--set", change)[0] != name, f"{change}: the migration keeps its name")
    for same in ("worker.replicaCount=3", "kafka.group=other", "autoscaling.mode=keda", "commonLabels.a=b", "secretRevision=3"):
        tally.that(job("--set", same) == (name, template), f"{same}: runs the migration again")


def refusals(helm, tally):
    """Each row of refusals.yaml: values on top of a scenario, and what the refusal has to say."""
    rows = yaml.safe_load((HERE / "refusals.yaml").read_text())
    for row in rows:
        extra = [] if row.get("over") is None else ["--values", str(values_of(row["over"]))]
        code, _, error = helm.template(*extra, values=row["values"])
        tally.that(code != 0, f"{helm.name}: {row['name']}: is taken")
        for part in row["says"]:
            tally.that(part in error, f"{helm.name}: {row['name']}: does not say {part!r} but {error}")
    return len(rows)


def notes(helm, tally):
    """The notes name the next three commands, with objects that are there."""
    if helm.name.startswith("v3"):
        return  # it asks a cluster even for a dry run
    for scenario in ("minimal", "production"):
        done = helm.run("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", "--values", str(values_of(scenario)))
        said = done.stdout.partition("NOTES:")[2]
        render = Render(scenario, (GOLDEN / f"{scenario}.yaml").read_text())
        for number in ("1.", "2.", "3."):
            tally.that(f"\n{number} " in said, f"{scenario}: the notes have no {number}: {done.stderr}")
        for kind, name in re.findall(r"\b(deployment|cronjob)/([\w-]+)", said):
            there = render.named({"deployment": "Deployment", "cronjob": "CronJob"}[kind], name)
            tally.that(there, f"{scenario}: the notes name {kind} {name}, which is not there")
        for variable in re.findall(r"\b(REPLAY_\w+)=", said):
            tally.that(f"$({variable})" in render.text, f"{scenario}: the notes set {variable}, which nothing reads")


def renamed(helm, tally):
    """Renaming a key of the values is noticed: in the templates, in the schema and against the goldens."""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "ledgerline"
        shutil.copytree(CHART, chart)
        text = (chart / "values.yaml").read_text()
        (chart / "values.yaml").write_text(text.replace("  drainMs:", "  drainMilliseconds:"))
        code, _, error = helm.template("--values", str(values_of("minimal")), chart=chart)
        tally.that(code != 0 and "drainM" in error, "a renamed key renders")


EVERY = [goldens, lint, packaged, i07_subchart]
ONCE = [i01_same_bytes, i02_upgrade, i03_versions, i08_null, i09_two_releases, i18_new_names, notes, renamed]
