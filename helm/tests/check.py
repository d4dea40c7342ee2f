"""All checks of the chart. Called by scripts/helm, which installs what they need; what is not there is left out, by name.

What must stay true: the checks on golden renders need no helm; a check that was left out is told; the summary counts.
"""

import os
import re
import sys

import yaml

import invariants
import parity
import rendering
import schemas
import score
import spoilers
from chart import GOLDEN, SCENARIOS, HERE, Tally, goldens


def frozen_selectors(renders, tally):
    """Selectors are immutable in a cluster: those of what was released may never change."""
    frozen = yaml.safe_load((HERE / "selectors.yaml").read_text())
    for render in renders:
        now = {item["metadata"]["name"]: item["spec"]["selector"]["matchLabels"] for item in render.of("Deployment")}
        then = frozen.get(render.scenario)
        tally.that(now == then, f"{render.scenario}: selectors of Deployments are not those of selectors.yaml: {now}")


def test():
    helms = rendering.programs()
    tally, left_out = Tally(), set()
    renders = goldens()
    missing = [name for name in SCENARIOS if not (GOLDEN / f"{name}.yaml").is_file()]
    tally.that(len(SCENARIOS) >= 8 and not missing, f"scenarios without a golden render: {missing}")
    custom = schemas.Custom(os.environ.get("CRDS"))
    checked = sum(schemas.check(render, custom, tally, left_out) for render in renders)
    for invariant in invariants.ALL:
        seen = Tally()
        for render in renders:
            invariant(render, seen)
        tally.that(seen.assertions, f"{invariant.__name__}: looks at nothing")
        tally.assertions += seen.assertions
        tally.problems += [f"{invariant.__name__}: {problem}" for problem in seen.problems]
    frozen_selectors(renders, tally)
    parity.check(tally)
    noticed = spoilers.check(tally, custom)
    if score.PROGRAM:
        score.check(renders, tally)
    else:
        left_out.add("kube-score")
    refused = 0
    for helm in helms:
        for step in rendering.EVERY:
            step(helm, tally)
        refused += rendering.refusals(helm, tally)
    if helms:
        for step in rendering.ONCE:
            step(helms[-1], tally)
    else:
        left_out.add("whatever needs helm (lint, freshness of the goldens, refusals): no helm is there")
    left_out |= {f"helm {version}" for version in ("v3", "v4") if helms and not any(helm.name.startswith(version) for helm in helms)}
    for problem in tally.problems:
        print(f"helm: {problem}", file=sys.stderr)
    if left_out:
        print(f"helm: left out: {'; '.join(sorted(left_out))}", file=sys.stderr)
    steps = invariants.ALL + (rendering.EVERY + rendering.ONCE if helms else [])
    held = {found[1] for step in steps if (found := re.match(r"i(\d\d)_", step.__name__))}
    names = ", ".join(helm.name for helm in helms) or "no helm"
    print(f"helm: {len(renders)} scenarios with {names}; {checked} objects against strict schemas (Kubernetes {', '.join(schemas.KUBERNETES)}, "
          f"{len(custom.validators)} custom); {len(held)} of 22 invariants; {refused} refusals; "
          f"{noticed} spoiled inputs noticed; {tally.assertions} assertions, {len(tally.problems)} failed")
    return 1 if tally.problems else 0


def main():
    step = sys.argv[1] if len(sys.argv) > 1 else "test"
    if step == "test":
        return test()
    if step == "docs":
        parity.write_readme()
        return 0
    helms = rendering.programs()
    if not helms:
        raise SystemExit("helm: golden renders need helm, and there is none")
    rendering.write_goldens(helms[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
