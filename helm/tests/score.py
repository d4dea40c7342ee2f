"""A second opinion on built-in objects, by kube-score, which `KUBE_SCORE` names. What it is told to leave out stands here, with the
reason; everything else that it calls critical is an error.
"""

import json
import os
import subprocess
import tempfile

import yaml

from schemas import builtin

PROGRAM = os.environ.get("KUBE_SCORE")
LEFT_OUT = {
    "pod-networkpolicy": "off by default: nobody knows the peers but the user",
    "container-image-pull-policy": "images are pinned by digest or version",
    "container-resources": "no CPU limit, so that a backlog is cleared as fast as the node allows; invariant 13 asks for the rest",
    "deployment-has-host-podantiaffinity": "topology spread constraints do it",
    "pod-probes": "nothing is served, so that readiness and liveness may share a port; Jobs need none",
    "container-ephemeral-storage-request-and-limit": "requests and limits differ on purpose",
}


def check(renders, tally):
    left_out = [argument for name in LEFT_OUT for argument in ("--ignore-test", name)]
    for render in renders:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump_all([item for item in render.objects if builtin(item)], file)
            file.flush()
            done = subprocess.run([PROGRAM, "score", "--output-format", "json", *left_out, file.name], capture_output=True, text=True)
        for item in json.loads(done.stdout):
            for found in item["checks"]:
                critical = not found["skipped"] and found["grade"] <= 1
                comments = [comment["summary"] for comment in found["comments"] or []]
                tally.that(not critical, f"{render.scenario}: kube-score: {item['object_name']}: {found['check']['id']}: {comments}")
