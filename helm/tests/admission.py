"""Whether the namespace's restricted profile takes the chart's pods. Used by apiserver.py.

A server only warns about a Deployment, a Job or a CronJob; it refuses pods. So each template is sent as a pod of its own, as the
controllers would.

What must stay true: each pod is also sent spoiled, in every way below, and every one of those must be refused for that reason.
"""

import copy

from chart import containers, label
from cluster import Refused


def _container(pod):
    return pod["spec"]["containers"][0]


def _privileged(pod):
    _container(pod)["securityContext"] |= {"privileged": True, "allowPrivilegeEscalation": True}


def _root(pod):
    pod["spec"]["securityContext"]["runAsUser"] = 0


def _maybe_root(pod):
    _drop(pod, "runAsNonRoot")


def _no_seccomp(pod):
    _drop(pod, "seccompProfile")


def _drop(pod, key):
    for holder in (pod["spec"], *containers(pod)):
        holder.get("securityContext", {}).pop(key, None)


def _escalates(pod):
    _container(pod)["securityContext"]["allowPrivilegeEscalation"] = True


def _capable(pod):
    _container(pod)["securityContext"].pop("capabilities")


def _node_folder(pod):
    pod["spec"]["volumes"].append({"name": "node", "hostPath": {"path": "/"}})


def _node_network(pod):
    pod["spec"]["hostNetwork"] = True


# How a pod is spoiled, and the word of the refusal that shows its reason.
SPOILERS = [
    (_privileged, "privileged"),
    (_root, "runAsUser=0"),
    (_maybe_root, "runAsNonRoot != true"),
    (_no_seccomp, "seccompProfile"),
    (_escalates, "allowPrivilegeEscalation != false"),
    (_capable, "unrestricted capabilities"),
    (_node_folder, "hostPath"),
    (_node_network, "host namespaces"),
]


def as_pod(item, template):
    metadata = {key: template["metadata"][key] for key in ("labels", "annotations") if key in template["metadata"]}
    metadata |= {"namespace": item["metadata"]["namespace"], "generateName": "pod-"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def check(cluster, render, count, tally):
    for item, template in render.pods():
        where = f"{render.scenario}: a pod of {label(item)}"
        try:
            cluster.create(as_pod(item, template), dry_run=True)
            count["pods admitted"] += 1
            tally.that(True, "")
        except Refused as refused:
            tally.that(False, f"{where}: {refused}")
        for spoil, word in SPOILERS:
            pod = as_pod(item, template)
            spoil(pod)
            says = refusal(cluster, pod)
            count["refusals seen"] += says is not None
            tally.that(says and "violates PodSecurity" in says and word in says, f"{where}: spoiled by {spoil.__name__}: {says or 'is admitted'}")


def refusal(cluster, pod):
    try:
        cluster.create(pod, dry_run=True)
    except Refused as refused:
        return str(refused)
    return None
