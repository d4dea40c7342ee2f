"""What a cluster may have when it is asked for today's chart: each scenario as it was before. Used by apiserver.py.

There are two of each. One is today's chart with another image and another timeout, as after a new version of the program. The other is
the chart of the newest commit whose golden render of that scenario is not today's: HEAD's while a change is being made, the one before
afterwards. The history may have none, because there was one golden render ever or the clone is not deep enough: the last line counts
those that there were, and a line says when there was none at all.
"""

import pathlib
import subprocess
import tempfile

from chart import CHART, GOLDEN, HERE, documents
from rendering import values_of

ROOT = HERE.parent.parent
CHANGED = ["--set", "image.repository=earlier", "--set", "database.statementTimeoutMs=29000"]
COMMITS = 50  # that are looked at


class Earlier:
    """A chart, its values, and what it rendered."""

    def __init__(self, name, chart, values, arguments, objects):
        self.name, self.chart, self.objects = name, chart, objects
        self.arguments = ["--values", str(values), *arguments]


def changed(helm, scenario):
    values = values_of(scenario)
    code, text, error = helm.template("--values", str(values), *CHANGED)
    if code:
        raise SystemExit(f"apiserver: {scenario}: {error}")
    return Earlier("another image and timeout", CHART, values, CHANGED, documents(text))


def released(scenario):
    """The newest earlier golden render of the history and its chart; None where there is none."""
    path = (GOLDEN / f"{scenario}.yaml").relative_to(ROOT)
    today = (GOLDEN / f"{scenario}.yaml").read_text()
    for commit in (git("log", f"--max-count={COMMITS}", "--format=%H", "--", path) or "").split():
        text = git("show", f"{commit}:{path}")
        if text and text != today:
            folder = chart_of(commit)
            values = folder / "ci" / f"{scenario}-values.yaml"
            return Earlier(f"commit {commit[:7]}", folder, values, [], documents(text))
    return None


def chart_of(commit, folders={}):
    """The chart of a commit, in a folder that goes when this process ends."""
    if commit not in folders:
        folders[commit] = tempfile.TemporaryDirectory(prefix="ledgerline-chart-")
        archive = subprocess.run(["git", "archive", commit, "helm/ledgerline"], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folders[commit].name], input=archive.stdout, check=True)
    return pathlib.Path(folders[commit].name) / "helm" / "ledgerline"


def git(*arguments):
    """What git says; None when it has nothing to say, as outside of a repository."""
    done = subprocess.run(["git", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None
