"""Puts the alerts together as the chart's template does, without helm, and takes the expressions out of the dashboards. Called by
scripts/alerts.

    render.py rules VALUES OUT [--only ALERT] [--blind] [--mute]   the rule groups of release `lt` in namespace `ledgerline`
    render.py panels OUT                                           every expression of a dashboard as a rule
    render.py same VALUES RENDER                                   whether helm's own render has the same groups

--blind leaves out which release a rule is about, and --mute makes it fire never: tests that stay green then prove nothing.

What must stay true: this file and templates/prometheusrule.yaml say the same; `same` compares them wherever helm is.
"""

import json
import re
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).parent.parent / "ledgerline"
NAMESPACE, RELEASE = "ledgerline", "lt"
FULLNAME = f"{RELEASE}-ledgerline"
GROUPS = ["consumer", "data", "database", "replay", "kubernetes", "autoscaling"]


def number(value):
    """As the template prints it: without a fraction where there is none."""
    return str(int(value)) if float(value).is_integer() else str(value)


def stands_for(values):
    workers = "|".join(f"{FULLNAME}-{worker}" for worker, entry in sorted(values["workers"].items()) if entry is not None)
    put = {
        "selector": f'namespace="{NAMESPACE}",release="{RELEASE}"',
        "namespace": NAMESPACE,
        "fullname": FULLNAME,
        "workers": workers,
        "pods": f"({workers})-([a-z0-9]+-[a-z0-9]{{5}}|[0-9]+)",
    }
    return put | {name: number(value) for name, value in values["prometheusRule"]["thresholds"].items()}


def texts(text, values):
    """The file as often as it is rendered: once, or for each topic that has what it is about."""
    for name, value in stands_for(values).items():
        text = text.replace(f"$({name})", value)
    each = yaml.safe_load(text).get("each")
    if not each:
        return [text]
    topics = [topic for _, topic in sorted(values["kafka"]["topics"].items()) if topic.get("enabled", True)]
    return [
        text.replace("$(topic)", topic["name"])
        .replace(f"$({each})", str(topic[each]))
        .replace("$(expectedSilenceWindow)", str(2 * topic[each]))
        for topic in topics
        if topic.get(each)
    ]


def rule(text, name, settings):
    file = yaml.safe_load(text)
    made = file["rule"]
    if made["alert"] != name:
        sys.exit(f"{name}.yaml: the alert in it is called {made['alert']}")
    labels = settings["alertLabels"] | made["labels"] | {"namespace": NAMESPACE, "release": RELEASE}
    labels["severity"] = settings["severities"].get(name, labels["severity"])
    made |= {"labels": labels, "for": settings["durations"].get(name, made["for"])}
    notes = made["annotations"]
    notes["runbook"] = f"docs/runbooks/{name}.md"
    if settings["runbookBaseUrl"]:
        notes["runbook_url"] = f"{settings['runbookBaseUrl']}/{name}.md"
    if settings["grafanaUrl"]:
        address = f"{settings['grafanaUrl']}/d/ledgerline-{file['dashboard']}"
        notes["dashboard_url"] = f"{address}?var-namespace={NAMESPACE}&var-release={RELEASE}"
    return file["group"], made


def rules(values, only=None):
    settings = values["prometheusRule"]
    groups = {group: [] for group in GROUPS}
    files = {path.stem: path.read_text() for path in sorted((CHART / "files/alerts").glob("*.yaml"))}
    for name, file in files.items():
        if name in settings["exclude"] or only not in (None, name):
            continue
        for text in texts(file, values):
            if left := re.search(r"\$\([A-Za-z]*\)", text):
                sys.exit(f"{name}.yaml: nothing stands for {left.group()}")
            group, made = rule(text, name, settings)
            if settings["groups"][group]:
                groups[group].append(made)
    unused = [name for name in settings["thresholds"] if not any(f"$({name})" in text for text in files.values())]
    if unused:
        sys.exit(f"no alert compares with the threshold {', '.join(unused)}")
    named = [{"name": f"ledgerline.{group}", "rules": made} for group, made in groups.items() if made]
    return {"groups": named}


def blind(text):
    """The selectors without which release they are about."""
    text = re.sub(r'namespace="[^"]*",release="[^"]*"', 'namespace!=""', text)
    text = re.sub(r'((?:exported_)?namespace)="[^"]+"', r'\1!=""', text)
    return re.sub(r'(pod|deployment|horizontalpodautoscaler|scaledObject|job_name)=~"[^"]*"', r'\1!=""', text)


def without_variables(expression):
    for variable, value in {
        "$__rate_interval": "5m",
        "$namespace": NAMESPACE,
        "$release": RELEASE,
        "$topic": ".*",
        "$pod": ".*",
        "$objective": "10",
    }.items():
        expression = expression.replace(variable, value)
    if "$" in expression:
        sys.exit(f"a dashboard has a variable that nobody knows: {expression}")
    return expression


def panels():
    groups = []
    for path in sorted((CHART / "files/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
        asked = [one["expr"] for one in targets + dashboard["annotations"]["list"]]
        made = [
            {"record": f"{path.stem}:panel:{number}", "expr": without_variables(expression)}
            for number, expression in enumerate(asked)
        ]
        groups.append({"name": path.stem, "rules": made})
    return {"groups": groups}


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def main():
    verb = sys.argv[1]
    if verb == "panels":
        Path(sys.argv[2]).write_text(yaml.safe_dump(panels(), width=1000))
        return
    values = yaml.safe_load(Path(sys.argv[2]).read_text())
    made = rules(values, option("--only"))
    if verb == "same":
        documents = yaml.safe_load_all(Path(sys.argv[3]).read_text())
        found = [one["spec"] for one in documents if one and one["kind"] == "PrometheusRule"]
        if found != [made]:
            sys.exit("helm renders other rules than helm/alerts-tests/render.py: mend the one that is wrong")
        return
    for each in [one for group in made["groups"] for one in group["rules"]]:
        if "--blind" in sys.argv:
            each["expr"] = blind(each["expr"])
        if "--mute" in sys.argv:
            each["expr"] = f"({each['expr']}) and on () (vector(1) > 1)"
    Path(sys.argv[3]).write_text(yaml.safe_dump(made, width=1000))


main()
