"""What a real API server says to the chart. Called by scripts/apiserver, which starts one; tools come from scripts/helm.

For each scenario, in a namespace that enforces the restricted profile: a dry run, an application, the same again without a change, each
pod and each spoiled pod, an autoscaler beside it, upgrades from what was before, and real releases with Helm 3 and Helm 4.

What must stay true: nothing is left out; a warning of the server is an error; each check has seen something that it refuses; the last
line counts.
"""

import collections
import copy
import os
import sys

import admission
import earlier
import releases
import rendering
import schemas
import upgrades
from chart import NAMESPACE, SCENARIOS, Tally, goldens, label
from cluster import Cluster, Refused, content

# What a cluster has before the chart comes: namespaces, what controllers make in them, and what values of scenarios name.
PROFILE = {f"pod-security.kubernetes.io/{mode}{key}": value
           for mode in ("enforce", "warn") for key, value in (("", "restricted"), ("-version", "latest"))}
NAMESPACES = [NAMESPACE, "kafka"]
FOUND = [
    *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": PROFILE}} for name in NAMESPACES),
    *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}} for name in ("default", "ledgerline")),
    *({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
      for name in ("data-live", "data-batch")),
]


class Testbed(Cluster):
    """A cluster in which the chart's objects are the only ones of their kinds."""

    def __init__(self, renders):
        super().__init__()
        self.kinds = {(item["apiVersion"], item["kind"]) for render in renders for item in render.objects} | {("v1", "Secret")}

    def everything(self):
        found = {label(item) for item in FOUND}
        listed = [item for kind in sorted(self.kinds) for namespace in NAMESPACES for item in self.all_of(kind, namespace)]
        return [item for item in listed if label(item) not in found]

    def empty(self):
        for item in self.everything():
            self.delete(item)


def accepted(cluster, render, tally):
    for item in render.objects:
        try:
            cluster.apply(item)
            tally.that(True, "")
        except Refused as refused:
            tally.that(False, f"{render.scenario}: {label(item)}: {refused}")


def dry_run(cluster, render, count, tally):
    """Before anything is there. A pod alone, `helm test`'s, comes when its account does: it has its dry run with all other pods."""
    for item in render.objects:
        if item["kind"] == "Pod":
            continue
        try:
            cluster.apply(item, dry_run=True)
            count["dry runs"] += 1
            tally.that(True, "")
        except Refused as refused:
            tally.that(False, f"{render.scenario}: dry run: {label(item)}: {refused}")
    left = [label(item) for item in cluster.everything()]
    tally.that(not left, f"{render.scenario}: a dry run leaves {left}")


def applied_twice(cluster, render, count, tally):
    """The second time nothing changes: no version of any object, and so no generation and no pod."""
    accepted(cluster, render, tally)
    first = upgrades.versions(cluster, render.objects)
    accepted(cluster, render, tally)
    second = upgrades.versions(cluster, render.objects)
    for item in render.objects:
        name = label(item)
        tally.that(first[name] and first[name] == second[name], f"{render.scenario}: {name}: applying it again makes {first[name]} {second[name]}")
    count["objects applied twice"] += len(first)


def autoscaled(cluster, render, count, tally):
    """An autoscaler that owns the number of pods keeps it when the chart is applied again; where the chart owns it, the two are in conflict."""
    for item in render.of("Deployment"):
        cluster.scale(item, 5, manager="autoscaler")
        try:
            replicas = cluster.apply(item)["spec"]["replicas"]
        except Refused as refused:
            replicas = refused.code
            count["refusals seen"] += 1
        wanted = 409 if "replicas" in item["spec"] else 5
        tally.that(replicas == wanted, f"{render.scenario}: {label(item)}: beside an autoscaler {replicas} and not {wanted}")


def scenario(cluster, helms, render, count, tally):
    """All of one scenario; returns what its objects are after an installation."""
    dry_run(cluster, render, count, tally)
    applied_twice(cluster, render, count, tally)
    if tally.problems:
        return None  # what follows would only say the same in other words
    fresh = {label(item): content(cluster.get(item)) for item in render.objects}
    admission.check(cluster, render, count, tally)
    autoscaled(cluster, render, count, tally)
    cluster.empty()
    before = [earlier.changed(helms[-1], render.scenario), earlier.released(render.scenario)]
    count["earlier renders in the history"] += before[-1] is not None
    for one in filter(None, before):
        upgrades.check(cluster, render, one, fresh, count, tally)
        releases.check(cluster, helms, render, one, fresh, count, tally)
    return fresh


def spoiled(item, path, value):
    """A copy of an object in which one thing is another."""
    copied = copy.deepcopy(item)
    node = copied
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copied


def unknown_fields(cluster, renders, count, tally):
    """A field that no schema has is refused, for each kind that the chart can render."""
    for kind in sorted(cluster.kinds):
        item = next((item for render in renders for item in render.objects if (item["apiVersion"], item["kind"]) == kind), None)
        if not item:
            continue
        part = "spec" if "spec" in item else "metadata"
        try:
            cluster.apply(spoiled(item, (part, "mistyped"), "x"), dry_run=True)
            says = "is taken"
        except Refused as refused:
            says = str(refused)
            count["refusals seen"] += 1
        tally.that("mistyped" in says, f"an unknown field of {kind[1]}: {says}")


IMMUTABLE = [
    ("Deployment", ("spec", "selector", "matchLabels", "ledgerline/worker"), "other"),
    ("Job", ("spec", "template", "spec", "containers", 0, "args", 0), "--other"),
    ("ConfigMap", ("data", "ledgerline.toml"), "other"),
]


def immutable_fields(cluster, render, count, tally):
    """The check of upgrades notices what no cluster changes: a selector, a Job's pods, an immutable configuration."""
    for kind, path, value in IMMUTABLE:
        item = next(item for item in render.of(kind) if kind != "ConfigMap" or item.get("immutable"))
        other = spoiled(item, path, value)
        if kind == "Deployment":
            other["spec"]["template"]["metadata"]["labels"][path[-1]] = value
        refused = upgrades.upgrade(cluster, [other], [item])
        count["refusals seen"] += len(refused)
        tally.that(len(refused) == 1 and "immutable" in refused[0], f"{label(item)} with another {path[-1]} is upgraded: {refused}")
        cluster.empty()


def changes(cluster, render, count, tally):
    """That something changed is seen where nothing may change."""
    item = render.of("ConfigMap")[0]
    cluster.apply(item)
    before = upgrades.versions(cluster, [item])
    cluster.apply(spoiled(item, ("metadata", "labels", "other"), "x"))
    tally.that(upgrades.versions(cluster, [item]) != before, "a changed label is not seen")
    cluster.empty()


def warned(cluster, render, count, tally):
    """A warning of the server is seen: it has one for a Deployment of privileged pods, and none for any object of the chart."""
    tally.that(not cluster.warnings, f"the server warns: {sorted(set(cluster.warnings))}")
    cluster.warnings = []
    item = render.of("Deployment")[0]
    cluster.apply(spoiled(item, ("spec", "template", "spec", "hostNetwork"), True), dry_run=True)
    tally.that(any("PodSecurity" in warning for warning in cluster.warnings), f"no warning of the profile: {cluster.warnings}")
    cluster.warnings = []


def main():
    renders, helms = goldens(), rendering.programs(KUBECONFIG=os.environ["KUBECONFIG"])
    if len(helms) < 2 or not os.environ.get("CRDS"):
        raise SystemExit("apiserver: Helm 3, Helm 4 and the operators' CRDs are needed; scripts/helm install says what cannot be had")
    cluster, count, tally, fresh = Testbed(renders), collections.Counter(), Tally(), {}
    for item in FOUND:
        cluster.create(item)
    crds = schemas.definitions(os.environ["CRDS"])
    for crd in crds:
        cluster.define(crd)
    for render in renders:
        print(f"apiserver: {render.scenario}", file=sys.stderr)
        seen = Tally()
        fresh[render.scenario] = scenario(cluster, helms, render, count, seen)
        cluster.empty()
        tally.assertions += seen.assertions
        tally.problems += seen.problems
    minimal = next(render for render in renders if render.scenario == "minimal")
    unknown_fields(cluster, renders, count, tally)
    immutable_fields(cluster, minimal, count, tally)
    changes(cluster, minimal, count, tally)
    releases.numbers(cluster, helms, next(render for render in renders if render.scenario == "hpa"), count, tally)
    if fresh["minimal"]:
        releases.noticed(cluster, helms, minimal, fresh["minimal"], count, tally)
    warned(cluster, minimal, count, tally)
    if not count["earlier renders in the history"]:
        print("apiserver: the history has no earlier golden render: upgrades are from another image and timeout alone", file=sys.stderr)
    for problem in tally.problems:
        print(f"apiserver: {problem}", file=sys.stderr)
    version = cluster.call("GET", "/version")["gitVersion"]
    counted = ", ".join(f"{number} {what}" for what, number in count.items())
    print(f"apiserver: Kubernetes {version} with Helm {' and '.join(helm.name for helm in helms)}, {len(crds)} operators' kinds: {len(renders)} of "
          f"{len(SCENARIOS)} scenarios; {counted}; {tally.assertions} assertions, {len(tally.problems)} failed")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
