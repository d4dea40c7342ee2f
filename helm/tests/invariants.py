"""What holds in every render, whatever the values: rendering, workload, jobs and secrets. Numbers are those of helm/tests/README.md.

What must stay true: each one is a function over one render and turns red on a spoiled one (spoilers.py shows it). What needs a
second render is in rendering.py.
"""

import re
import tomllib

import yaml

from chart import CHART, NAMESPACE, containers, label

RECOMMENDED = ["name", "instance", "version", "managed-by", "part-of", "component"]
SELECTOR = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "ledgerline/worker"}
MARKER = "planted-marker"
SECRETS = "/etc/ledgerline/secrets"


def own(render):
    """The chart's objects, without those that a user added."""
    return [item for item in render.objects if item["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "extra"]


def i04_metadata(render, tally):
    namespaces = {NAMESPACE} | ({"kafka"} if render.of("KafkaTopic", "KafkaUser") else set())
    for item in own(render):
        meta = item["metadata"]
        labels = meta.get("labels", {})
        tally.that(meta.get("namespace") in namespaces, f"{label(item)}: has no namespace")
        missing = [name for name in RECOMMENDED if f"app.kubernetes.io/{name}" not in labels]
        tally.that(not missing, f"{label(item)}: lacks the labels {missing}")
        tally.that(len(meta["name"]) <= 63, f"{label(item)}: name is longer than 63")
        long = [key for key, value in labels.items() if len(value) > 63]
        tally.that(not long, f"{label(item)}: labels longer than 63: {long}")
        # An autoscaler's own object is named after it.
        if item["kind"] == "ScaledObject":
            tally.that(len("keda-hpa-" + meta["name"]) <= 63, f"{label(item)}: leaves no room for keda-hpa-")


def i05_selectors(render, tally):
    for item in render.of("Deployment", "PodDisruptionBudget"):
        chosen = item["spec"]["selector"]["matchLabels"]
        tally.that(set(chosen) == SELECTOR, f"{label(item)}: selects by {sorted(chosen)}")
    for item, template in render.pods():
        if item["kind"] == "Deployment":
            chosen = item["spec"]["selector"]["matchLabels"].items()
            tally.that(chosen <= template["metadata"]["labels"].items(), f"{label(item)}: does not select its own pods")


def i06_restarts(render, tally):
    for item, template in render.pods():
        if item["kind"] == "Pod":
            continue
        meta = template["metadata"]
        tally.that("helm.sh/chart" not in meta.get("labels", {}), f"{label(item)}: a new chart restarts its pods")
        if item["kind"] == "Deployment":
            checksum = meta["annotations"].get("ledgerline/config-checksum", "")
            tally.that(re.fullmatch("[0-9a-f]{64}", checksum), f"{label(item)}: a new configuration restarts nobody")


def i10_duplicates(render, tally):
    named = [(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in render.objects]
    tally.that(len(set(named)) == len(named), f"objects are there twice: {sorted({n for n in named if named.count(n) > 1})}")
    for item, template in render.pods():
        lists = [("volumes", template["spec"].get("volumes", [])), ("containers", containers(template))]
        for container in containers(template):
            lists += [(key, container.get(key, [])) for key in ("env", "ports")]
            lists.append(("mounts", [{"name": mount["mountPath"]} for mount in container.get("volumeMounts", [])]))
        for what, entries in lists:
            names = [entry["name"] for entry in entries]
            tally.that(len(set(names)) == len(names), f"{label(item)}: {what} has a name twice: {names}")


def i11_replicas(render, tally):
    owners = {}
    for item in render.of("ScaledObject", "HorizontalPodAutoscaler"):
        target = item["spec"]["scaleTargetRef"]["name"]
        tally.that(target not in owners, f"{label(item)}: {target} has two autoscalers")
        tally.that(render.named("Deployment", target), f"{label(item)}: there is no Deployment {target}")
        owners[target] = item
    for item in render.of("Deployment"):
        owned = item["metadata"]["name"] in owners
        tally.that(("replicas" in item["spec"]) != owned, f"{label(item)}: replicas and an autoscaler, or neither")


def i12_time(render, tally):
    for item, template in render.pods():
        if item["kind"] != "Deployment":
            continue
        config = tomllib.loads(render.config(template))
        drain, statement = config["shutdown"]["drain_ms"], config["database"]["statement_timeout_ms"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        tally.that(grace * 1000 >= drain + statement + 10_000, f"{label(item)}: killed after {grace} s, before it has drained")
        worker = template["spec"]["containers"][0]
        probe = worker["startupProbe"]
        budget = probe["periodSeconds"] * probe["failureThreshold"]
        tally.that(budget >= 600, f"{label(item)}: the startup probe gives up after {budget} s, before the migration")
        deadline = item["spec"]["progressDeadlineSeconds"]
        tally.that(deadline > budget, f"{label(item)}: the rollout gives up after {deadline} s, before the startup probe")
        rolling = item["spec"]["strategy"]["rollingUpdate"]
        tally.that(rolling["maxSurge"] == 0, f"{label(item)}: a surge of {rolling['maxSurge']} pods that get no partition")
        tally.that(rolling["maxUnavailable"] not in (0, "0%"), f"{label(item)}: no pod is ever replaced")
        tally.that(item["spec"]["minReadySeconds"] > 0, f"{label(item)}: pods are replaced as fast as they start")
        paths = [worker[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
        asked = [(probe["path"], probe["port"]) for probe in paths]
        wanted = [("/readyz", "http"), ("/readyz", "http"), ("/livez", "http")]
        tally.that(asked == wanted, f"{label(item)}: probes ask {asked}")


def i13_restricted(render, tally):
    images = set()
    for item, template in render.pods():
        spec, name = template["spec"], label(item)
        pod = spec.get("securityContext", {})
        tally.that(pod.get("runAsNonRoot") is True and pod.get("runAsUser", 0) > 0, f"{name}: may run as root")
        tally.that(pod.get("seccompProfile", {}).get("type") == "RuntimeDefault", f"{name}: has no seccomp profile")
        host = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        tally.that(not host, f"{name}: shares {host} with the node")
        kinds = {key for volume in spec["volumes"] for key in volume} - {"name"}
        tally.that(kinds <= {"configMap", "projected", "emptyDir", "secret", "downwardAPI"}, f"{name}: has volumes {kinds}")
        tally.that(spec.get("automountServiceAccountToken") is False, f"{name}: mounts a token")
        tally.that(spec.get("enableServiceLinks") is False, f"{name}: has service links")
        for container in containers(template):
            context = container.get("securityContext", {})
            tally.that(context.get("allowPrivilegeEscalation") is False, f"{name}: may gain rights")
            tally.that(context.get("capabilities", {}).get("drop") == ["ALL"], f"{name}: keeps capabilities")
            tally.that(not context.get("capabilities", {}).get("add"), f"{name}: adds capabilities")
            tally.that(not context.get("privileged"), f"{name}: is privileged")
            tally.that(not any("hostPort" in port for port in container.get("ports", [])), f"{name}: takes a port of the node")
            resources = container.get("resources", {})
            wanted = "memory" in resources.get("requests", {}) and "cpu" in resources.get("requests", {})
            tally.that(wanted and "memory" in resources.get("limits", {}), f"{name}: lacks requests or a memory limit")
            images.add(container["image"])
    for item in render.of("ServiceAccount"):
        tally.that(item.get("automountServiceAccountToken") is False, f"{label(item)}: gives its token away")
    tally.that(len(images) == 1, f"several images: {sorted(images)}")


def i14_writable(render, tally):
    for item, template in render.pods():
        empty = [volume for volume in template["spec"]["volumes"] if "emptyDir" in volume]
        sized = [volume["name"] for volume in empty if volume["emptyDir"].get("sizeLimit")]
        tally.that(sized == ["tmp"], f"{label(item)}: writable folders {sized} of {len(empty)}")
        for container in containers(template):
            only = container.get("securityContext", {}).get("readOnlyRootFilesystem") is True
            tally.that(only, f"{label(item)}: may write to its root")
            at = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "tmp"]
            tally.that(at == ["/tmp"], f"{label(item)}: the writable folder is at {at}")


def i15_budgets(render, tally):
    covered = set()
    for item in render.of("PodDisruptionBudget"):
        bounds = [key for key in ("minAvailable", "maxUnavailable") if key in item["spec"]]
        tally.that(len(bounds) == 1, f"{label(item)}: has the bounds {bounds}")
        tally.that(item["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow", f"{label(item)}: broken pods block drains")
        covered.add(item["metadata"]["name"])
    scaled = {item["spec"]["scaleTargetRef"]["name"]: item["spec"] for item in render.of("ScaledObject", "HorizontalPodAutoscaler")}
    for item in render.of("Deployment"):
        name = item["metadata"]["name"]
        owner = scaled.get(name, {})
        fewest = owner.get("minReplicaCount", owner.get("minReplicas", item["spec"].get("replicas", 1)))
        tally.that((name in covered) == (fewest > 1), f"{label(item)}: {fewest} pods, and a budget: {name in covered}")


def read_topics(config):
    return {topic["name"] for topic in config["topics"].values() if topic["enabled"]}


def i16_triggers(render, tally):
    for item in render.of("ScaledObject"):
        deployment = render.named("Deployment", item["spec"]["scaleTargetRef"]["name"])
        config = tomllib.loads(render.config(deployment["spec"]["template"]))
        read = {(f"{config['kafka']['group']}.{topic}", topic) for topic in read_topics(config)}
        metadata = [trigger["metadata"] for trigger in item["spec"]["triggers"] if trigger["type"] == "kafka"]
        watched = {(entry["consumerGroup"], entry["topic"]) for entry in metadata}
        tally.that(watched == read, f"{label(item)}: watches {watched}, and the worker reads {read}")
        for entry in metadata:
            tally.that(entry["bootstrapServers"] == config["kafka"]["brokers"], f"{label(item)}: asks other brokers")
            start = "latest" if config["kafka"]["start"] == "latest" else "earliest"
            tally.that(entry["offsetResetPolicy"] == start, f"{label(item)}: counts a new group from elsewhere")
            texts = [key for key, value in entry.items() if not isinstance(value, str)]
            tally.that(not texts, f"{label(item)}: {texts} must be texts")
        formula = item["spec"]["advanced"]["scalingModifiers"]["formula"]
        missing = [trigger["name"] for trigger in item["spec"]["triggers"] if not re.search(rf"\b{trigger['name']}\b", formula)]
        tally.that(not missing, f"{label(item)}: the sum leaves out {missing}")
        tally.that(item["spec"]["minReplicaCount"] >= 1, f"{label(item)}: scales to zero")


def i17_pools(render, tally):
    for item, template in render.pods():
        text = render.config(template)
        config = tomllib.loads(text)
        writers = sum(topic.get("writers", 0) for topic in config.get("topics", {}).values())
        size = config["database"]["pool"]["size"]
        extra = 2 * config.get("workflows", {}).get("enabled", False)
        tally.that(size >= writers + 1 + extra, f"{label(item)}: a pool of {size} for {writers} writers")
    topics = yaml.safe_load((CHART / "ci" / f"{render.scenario}-values.yaml").read_text())["kafka"].get("topics", {})
    for item in render.of("ScaledObject", "HorizontalPodAutoscaler"):
        deployment = render.named("Deployment", item["spec"]["scaleTargetRef"]["name"])
        read = tomllib.loads(render.config(deployment["spec"]["template"]))["topics"]
        partitions = sum(topics[kind]["partitions"] for kind, topic in read.items() if topic["enabled"])
        most = item["spec"].get("maxReplicaCount", item["spec"].get("maxReplicas"))
        tally.that(most <= partitions, f"{label(item)}: {most} pods for {partitions} partitions")


def weight(item):
    annotations = item["metadata"].get("annotations", {})
    return int(annotations["helm.sh/hook-weight"]) if annotations.get("helm.sh/hook", "").startswith("pre-") else None


def i18_migration_name(render, tally):
    for item in render.of("Job"):
        if item["metadata"]["labels"]["app.kubernetes.io/component"] != "migrate":
            continue
        wanted = r"-migrate$" if weight(item) is not None else r"-migrate-[0-9a-f]{8}$"  # Helm deletes a hook by its name
        tally.that(re.search(wanted, item["metadata"]["name"]), f"{label(item)}: is not named by its content")
        meta = item["spec"]["template"]["metadata"]
        moving = [key for key in {**meta["labels"], **meta.get("annotations", {})} if "version" in key or "chart" in key or "checksum" in key]
        tally.that(not moving, f"{label(item)}: {moving} move without a new name")
        mounted = item["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
        tally.that(mounted == item["metadata"]["name"], f"{label(item)}: reads a configuration that may change under it")
        tally.that("backoffLimit" in item["spec"] and "activeDeadlineSeconds" in item["spec"], f"{label(item)}: may try for ever")


def i19_hooks(render, tally):
    for item, template in render.pods():
        if weight(item) is None:
            continue
        spec = template["spec"]
        used = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in spec["volumes"]:
            sources = [volume] + volume.get("projected", {}).get("sources", [])
            for source in sources:
                used += [("ConfigMap", source["configMap"]["name"])] if "configMap" in source else []
                used += [("Secret", source["secret"]["name"])] if "secret" in source else []
        for kind, name in used:
            made = render.named(kind, name) or (render.named("ExternalSecret", name) if kind == "Secret" else None)
            early = made is None or (weight(made) is not None and weight(made) < weight(item))
            tally.that(early, f"{label(item)}: runs before {kind} {name} is there")


def i20_replays(render, tally):
    groups = {item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] for item in render.of("Deployment")}
    for item, template in render.pods():
        meta = template["metadata"]
        if meta["labels"]["app.kubernetes.io/component"] != "replay":
            continue
        tally.that("replay" not in groups and "ledgerline/worker" not in meta["labels"], f"{label(item)}: is taken for a worker")
        job = item["spec"] if item["kind"] == "Job" else item["spec"]["jobTemplate"]["spec"]
        tally.that("backoffLimit" in job and "activeDeadlineSeconds" in job, f"{label(item)}: may try for ever")
        args = template["spec"]["containers"][0]["args"]
        tally.that("replay" in args and "run" not in args, f"{label(item)}: joins the live group: {args}")
        tally.that("--to" in args, f"{label(item)}: has no end")
        if item["kind"] == "Job":
            tally.that("ttlSecondsAfterFinished" not in job, f"{label(item)}: is made again when it is deleted")
            tally.that(item["metadata"]["annotations"].get("ledgerline/reason"), f"{label(item)}: says no reason")
            tally.that(re.search(r"-[0-9a-f]{8}$", item["metadata"]["name"]), f"{label(item)}: is not named by its content")
        else:
            tally.that(item["spec"].get("suspend") is True, f"{label(item)}: runs by the clock")


def i21_secrets(render, tally):
    for item in render.objects:
        if item["kind"] != "Secret":
            tally.that(MARKER not in str(item), f"{label(item)}: shows a secret of the values")
    for item, template in render.pods():
        text = render.config(template)
        tally.that(text is not None, f"{label(item)}: has no configuration in the render")
        config = tomllib.loads(text or "")
        plain = [key for key in re.findall(r"(?m)^(\w+) = ", text or "") if key in ("url", "read_url", "sasl_password", "token")]
        tally.that(not plain, f"{label(item)}: the configuration shows {plain}")
        files = set()
        for volume in template["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                files |= {f"{SECRETS}/{entry['path']}" for entry in source["secret"]["items"]}
        named = {value for section in config.values() for key, value in section.items() if key.endswith("_file")}
        tally.that(named == files, f"{label(item)}: mounts {sorted(files)} and reads {sorted(named)}")
        for container in containers(template):
            inline = [entry["name"] for entry in container.get("env", []) if MARKER in str(entry)]
            tally.that(not inline, f"{label(item)}: secrets in variables: {inline}")


def i22_image(render, tally):
    for item, template in render.pods():
        for container in containers(template):
            image = container["image"]
            pinned = "@sha256:" in image or re.search(r":[^/:]+$", image)
            tally.that(pinned and not image.endswith(":latest"), f"{label(item)}: {image} is not pinned")
            if render.scenario == "production":
                tally.that("@sha256:" in image, f"{label(item)}: {image} has no digest")


ALL = [value for name, value in sorted(globals().items()) if re.match(r"i\d\d_", name)]
