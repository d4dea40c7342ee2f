"""Negative tests of the checks: each spoils one thing in a good render, and the named check must turn red.

What must stay true: every invariant has at least one spoiler, and one that nothing notices is an error.
"""

import json

import yaml

import invariants
import parity
import schemas
import score
from chart import CHART, Tally, goldens


def first(render, kind):
    return render.of(kind)[0]


def pod(render, kind="Deployment"):
    item = first(render, kind)
    return item["spec"]["template"]["spec"]


def worker(render):
    return pod(render)["containers"][0]


def put(path, value, kind="Deployment"):
    """Sets what lies at `path` (keys and numbers, separated by `/`) of the first object of a kind."""
    def change(render):
        node, keys = first(render, kind), [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
    return change


def twice(kind):
    return lambda render: render.objects.append(first(render, kind))


TEMPLATE = "spec/template/spec/containers/0/"
SPOILERS = [
    ("i04_metadata", "production", "no namespace", put("metadata/namespace", "default")),
    ("i04_metadata", "production", "a long label", put("metadata/labels/team", "x" * 64)),
    ("i05_selectors", "production", "a version in the selector", put("spec/selector/matchLabels/app.kubernetes.io~1version", "1")),
    ("i06_restarts", "production", "chart version in the pods", put("spec/template/metadata/labels/helm.sh~1chart", "x")),
    ("i06_restarts", "production", "no checksum", put("spec/template/metadata/annotations/ledgerline~1config-checksum", "")),
    ("i10_duplicates", "production", "an object twice", twice("ConfigMap")),
    ("i10_duplicates", "production", "a variable twice", lambda render: worker(render)["env"].append({"name": "TZ", "value": "x"})),
    ("i11_replicas", "production", "replicas beside KEDA", put("spec/replicas", 2)),
    ("i11_replicas", "production", "two autoscalers", twice("ScaledObject")),
    ("i12_time", "minimal", "a surge", put("spec/strategy/rollingUpdate/maxSurge", 1)),
    ("i12_time", "minimal", "a short grace", put("spec/template/spec/terminationGracePeriodSeconds", 30)),
    ("i12_time", "minimal", "a short startup", put(TEMPLATE + "startupProbe/failureThreshold", 3)),
    ("i12_time", "minimal", "a liveness probe on readiness", put(TEMPLATE + "livenessProbe/httpGet/path", "/readyz")),
    ("i13_restricted", "minimal", "root", put("spec/template/spec/securityContext/runAsNonRoot", False)),
    ("i13_restricted", "minimal", "a token", put("spec/template/spec/automountServiceAccountToken", True)),
    ("i13_restricted", "minimal", "no memory limit", put(TEMPLATE + "resources/limits", {})),
    ("i13_restricted", "minimal", "a second image", put(TEMPLATE + "image", "busybox:1", "Job")),
    ("i14_writable", "minimal", "a writable root", put(TEMPLATE + "securityContext/readOnlyRootFilesystem", False)),
    ("i14_writable", "minimal", "an unbounded folder", put("spec/template/spec/volumes/2/emptyDir", {})),
    ("i15_budgets", "minimal", "both bounds", put("spec/minAvailable", 1, "PodDisruptionBudget")),
    ("i15_budgets", "minimal", "a single pod", put("spec/replicas", 1)),
    ("i16_triggers", "production", "another group", put("spec/triggers/0/metadata/consumerGroup", "x", "ScaledObject")),
    ("i16_triggers", "production", "a number", put("spec/triggers/0/metadata/lagThreshold", 5, "ScaledObject")),
    ("i16_triggers", "production", "a topic outside the sum", put("spec/advanced/scalingModifiers/formula", "odds / 1", "ScaledObject")),
    ("i17_pools", "minimal", "a small pool", lambda render: rewrite(render, "pool.size = 8", "pool.size = 3")),
    ("i17_pools", "production", "more pods than partitions", put("spec/maxReplicaCount", 40, "ScaledObject")),
    ("i18_migration_name", "minimal", "a fixed name", put("metadata/name", "lt-ledgerline-migrate", "Job")),
    ("i18_migration_name", "minimal", "a moving label", put("spec/template/metadata/labels/helm.sh~1chart", "x", "Job")),
    ("i19_hooks", "hook-migrations", "a late configuration", lambda render: late(render)),
    ("i20_replays", "replay-jobs", "the live command", lambda render: replay(render)["args"].append("run")),
    ("i20_replays", "replay-jobs", "by the clock", put("spec/suspend", False, "CronJob")),
    ("i21_secrets", "trial", "a secret in a ConfigMap", put("data/x", "planted-marker", "ConfigMap")),
    ("i21_secrets", "minimal", "a secret in the configuration", lambda render: rewrite(render, "url_file", "url")),
    ("i22_image", "production", "a tag in production", put(TEMPLATE + "image", "ledgerline:1")),
    ("i22_image", "minimal", "latest", put(TEMPLATE + "image", "ledgerline:latest")),
]


def rewrite(render, old, new):
    for item in render.of("ConfigMap"):
        text = item["data"].get("ledgerline.toml")
        if text and old in text:
            item["data"]["ledgerline.toml"] = text.replace(old, new)
            return
    raise AssertionError(f"{old!r} is in no configuration; mend this test")


def late(render):
    for item in render.of("ConfigMap"):
        item["metadata"].get("annotations", {}).pop("helm.sh/hook", None)


def replay(render):
    jobs = [item for item in render.of("Job") if "-replay-" in item["metadata"]["name"]]
    return jobs[0]["spec"]["template"]["spec"]["containers"][0]


def check(tally, custom):
    renders = {render.scenario: render for render in goldens()}
    by_name = {function.__name__: function for function in invariants.ALL}
    for name, scenario, what, change in SPOILERS:
        seen = Tally()
        by_name[name](renders[scenario].changed(unescaped(change)), seen)
        tally.that(seen.problems, f"{name}: does not notice {what}")
    silent = set(by_name) - {name for name, *_ in SPOILERS}
    tally.that(not silent, f"nothing shows that these notice anything: {sorted(silent)}")
    return len(SPOILERS) + schemas_notice(tally, renders, custom) + parity_notices(tally) + score_notices(tally, renders)


def unescaped(change):
    """`~1` in a path stands for `/`, as in a JSON Pointer."""
    def apply(render):
        change(render)
        for item in render.objects:
            slashes(item)
    return apply


def slashes(node):
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        slashes(value)
    if isinstance(node, dict):
        for key in [key for key in node if "~1" in str(key)]:
            node[key.replace("~1", "/")] = node.pop(key)


def schemas_notice(tally, renders, custom):
    spoilers = [
        ("a misspelt field", "minimal", put("spec/minReadySecond", 1)),
        ("a text for a number", "minimal", put("spec/replicas", "2")),
        ("a misspelt field of a topic", "strimzi-externalsecrets", put("spec/partition", 1, "KafkaTopic")),
        ("an operation that is none", "strimzi-externalsecrets", put("spec/authorization/acls/0/operations", ["Reed"], "KafkaUser")),
    ]
    if ("keda.sh/v1alpha1", "ScaledObject") in custom.validators:
        spoilers += [
            ("a misspelt bound of KEDA", "production", put("spec/minReplicas", 1, "ScaledObject")),
            ("a number in a trigger", "production", put("spec/triggers/0/metadata/lagThreshold", 5, "ScaledObject")),
            ("a misspelt field of a monitor", "production", put("spec/podMetricsEndpoint", [], "PodMonitor")),
            ("a misspelt field of a secret", "strimzi-externalsecrets", put("spec/refresh", "1h", "ExternalSecret")),
        ]
    for what, scenario, change in spoilers:
        seen = Tally()
        schemas.check(renders[scenario].changed(change), custom, seen, set())
        tally.that(seen.problems, f"strict schemas: do not notice {what}")
    return len(spoilers)


def score_notices(tally, renders):
    if not score.PROGRAM:
        return 0
    spoilers = [("latest", put(TEMPLATE + "image", "ledgerline:latest")), ("a writable root", put(TEMPLATE + "securityContext", {}))]
    for what, change in spoilers:
        seen = Tally()
        score.check([renders["minimal"].changed(change)], seen)
        tally.that(seen.problems, f"kube-score: does not notice {what}")
    return len(spoilers)


def parity_notices(tally):
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    spoilers = [
        ("a renamed key", dict(text=text.replace("  drainMs:", "  drainMilliseconds:"))),
        ("a key without a comment", dict(text=text.replace("  # Port of the database.\n", ""))),
        ("a key that is in the schema only", dict(text=text.replace("  budgetMib: 64\n", ""), schema=schema)),
        ("an old table", dict(readme="")),
    ]
    for what, changed in spoilers:
        seen = Tally()
        assert "text" not in changed or changed["text"] != text, f"{what}: changes nothing; mend this test"
        assert yaml.safe_load(changed.get("text", text))
        parity.check(seen, **changed)
        tally.that(seen.problems, f"values and schema: do not notice {what}")
    return len(spoilers)
