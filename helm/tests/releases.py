"""Real releases: what `helm install`, `upgrade`, `rollback` and `uninstall` leave in a cluster. Used by apiserver.py.

Hooks are left out, since no controller would run what they wait for; upgrades.py sends them.
"""

import json

from chart import CHART, NAMESPACE, RELEASE, Tally, label
from cluster import content
from rendering import values_of
from upgrades import is_hook, versions

# What docs/OPERATIONS.md says of the number of pods, for a release that has three: what an upgrade is given after the number was set by
# hand, or was not, and the number that there is then; a text is what the refusal says.
FIXED = ("--set", "autoscaling.mode=none")
NUMBERS = [
    (None, (), 1),
    (4, (), 4),
    (4, FIXED, ".spec.replicas"),
    (4, (*FIXED, "--set", "worker.replicaCount=4", "--force-conflicts"), 4),
    (4, (*FIXED, "--set", "worker.replicaCount=null"), 4),
]
MARKS = ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace", "app.kubernetes.io/managed-by")  # Helm's own, on every object


def check(cluster, helms, render, earlier, fresh, count, tally):
    """`fresh` is what the same objects are when they are applied without Helm: a release must come to the same."""
    newest = helms[-1]
    today = (str(CHART), "--values", str(values_of(render.scenario)))
    for helm in helms:
        where = f"{render.scenario}: installed by {helm.name} from {earlier.name}"
        steps = [
            ("install", helm, ("install", RELEASE, str(earlier.chart), *earlier.arguments)),
            ("upgrade, a dry run", newest, ("upgrade", RELEASE, *today, "--server-side=true", "--dry-run=server")),
            ("upgrade", newest, ("upgrade", RELEASE, *today, "--server-side=true")),
        ]
        if not all(run(program, command, f"{where}: {step}", tally) for step, program, command in steps):
            cluster.empty()
            continue
        compare(cluster, render, fresh, where, tally)
        before = versions(cluster, plain(render))
        run(newest, steps[-1][-1], f"{where}: the same upgrade again", tally)
        tally.that(versions(cluster, plain(render)) == before, f"{where}: the same upgrade again changes something")
        run(newest, ("rollback", RELEASE, "1"), f"{where}: rollback", tally)
        run(newest, ("uninstall", RELEASE), f"{where}: uninstall", tally)
        left = [label(item) for item in cluster.everything()]
        tally.that(not left, f"{where}: uninstalling leaves {left}")
        count["releases upgraded"] += 1
        cluster.empty()


def run(helm, command, where, tally):
    done = helm.run(*command, "--namespace", NAMESPACE, "--no-hooks")
    tally.that(done.returncode == 0, f"{where}: {done.stderr.strip()}")
    return done.returncode == 0


def plain(render):
    return [item for item in render.objects if not is_hook(item)]


def compare(cluster, render, fresh, where, tally):
    """The release has the render's objects, each as it is without Helm, and no others."""
    there = {label(item) for item in cluster.everything() if item.get("type") != "helm.sh/release.v1"}
    wanted = {label(item) for item in plain(render)}
    tally.that(there == wanted, f"{where}: too many: {sorted(there - wanted)}, missing: {sorted(wanted - there)}")
    for item in plain(render):
        found = cluster.get(item)
        same = found and unmarked(content(found)) == unmarked(fresh[label(item)])
        tally.that(same, f"{where}: {label(item)} is not what an installation makes: {json.dumps(found)[:2000]}")


def unmarked(item):
    marked = item["metadata"]
    kept = {part: {key: value for key, value in marked.get(part, {}).items() if key not in MARKS} for part in ("annotations", "labels")}
    return {**item, "metadata": {**marked, **kept}}


def numbers(cluster, helms, render, count, tally):
    """Who owns the number of pods when autoscaling is switched on for a release that runs, and when a human sets it. `render` is autoscaled."""
    item = render.of("Deployment")[0]
    today = (str(CHART), "--values", str(values_of(render.scenario)))
    for helm in helms:
        for by_hand, arguments, wanted in NUMBERS:
            where = f"installed by {helm.name}, scaled to {by_hand}, upgraded with {arguments}"
            run(helm, ("install", RELEASE, *today, *FIXED), where, tally)
            tally.that(cluster.get(item)["spec"]["replicas"] == 3, f"{where}: the release has not three pods")
            if by_hand:
                cluster.scale(item, by_hand, manager="kubectl")
            seen = Tally()
            run(helms[-1], ("upgrade", RELEASE, *today, *arguments, "--server-side=true"), where, seen)
            count["refusals seen"] += len(seen.problems)
            found = cluster.get(item)["spec"]["replicas"]
            holds = found == wanted and not seen.problems if isinstance(wanted, int) else any(wanted in problem for problem in seen.problems)
            tally.that(holds, f"{where}: {found} pods and not {wanted}: {seen.problems}")
            cluster.empty()


def noticed(cluster, helms, render, fresh, count, tally):
    """Objects that are not the release's stop an installation, and a cluster that has other ones than the render is told from it."""
    for item in plain(render):
        cluster.apply(item)
    for helm in helms:
        seen = Tally()
        run(helm, ("install", RELEASE, str(CHART), "--values", str(values_of(render.scenario))), "over others' objects", seen)
        count["refusals seen"] += len(seen.problems)
        tally.that(any("ownership" in problem for problem in seen.problems), f"{helm.name}: others' objects are taken: {seen.problems}")
    for what, change in (("another object", {"metadata": {"name": "other"}}), ("other data", {"data": {"ledgerline.toml": ""}})):
        item = render.of("ConfigMap")[0]
        cluster.apply({**item, **change, "metadata": {**item["metadata"], **change.get("metadata", {})}})
        seen = Tally()
        compare(cluster, render, fresh, what, seen)
        tally.that(len(seen.problems) == 1, f"releases: {what} is not noticed: {seen.problems}")
        cluster.empty()
        for item in plain(render):
            cluster.apply(item)
    cluster.empty()
