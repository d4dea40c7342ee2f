"""From one render to another in a cluster, object by object, as a GitOps tool goes. Used by apiserver.py."""

import json

from chart import label
from cluster import Refused, content


def is_hook(item):
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def versions(cluster, objects):
    """The version that the server counts for each object: any change is another one."""
    return {label(item): (cluster.get(item) or {}).get("metadata", {}).get("resourceVersion") for item in objects}


def upgrade(cluster, before, now):
    """What the server refuses when a cluster that has `before` is asked for `now`: hooks are made anew, as their policy says, and what
    is gone is deleted."""
    for item in before:
        cluster.apply(item)
    refused = []
    for item in now:
        if is_hook(item):
            cluster.delete(item)
        try:
            cluster.apply(item)
        except Refused as refusal:
            refused.append(f"{label(item)}: {refusal}")
    kept = {label(item) for item in now}
    for item in before:
        if label(item) not in kept:
            cluster.delete(item)
    return refused


def check(cluster, render, earlier, fresh, count, tally):
    """An upgrade is taken, and comes to what an installation comes to."""
    where = f"{render.scenario}: upgrade from {earlier.name}"
    tally.that(earlier.objects != render.objects, f"{where}: there is nothing to upgrade")
    refused = upgrade(cluster, earlier.objects, render.objects)
    tally.that(not refused, f"{where}: {refused}")
    for item in render.objects if not refused else []:
        found = content(cluster.get(item))
        tally.that(found == fresh[label(item)], f"{where}: {label(item)} is not what an installation makes: {json.dumps(found)[:2000]}")
    count["upgrades"] += 1
    cluster.empty()
