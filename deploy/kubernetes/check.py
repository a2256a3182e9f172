#!/usr/bin/env python3
"""Asks the policies about a rendered overlay.

check.py NAME FILE            checks the overlay NAME, rendered into FILE
check.py --mutate NAME FILE   breaks it in each way of mutations.py, and fails when a policy does not notice
"""

import copy
import pathlib
import sys

import mutations
import yaml
from cluster import Cluster, Facts, Missing
from policies import POLICIES


def faults(check, cluster, facts):
    try:
        yield from check(cluster, facts)
    except Missing as missing:
        yield str(missing)


def main():
    mutate = sys.argv[1:2] == ["--mutate"]
    if len(sys.argv) != (4 if mutate else 3):
        sys.exit(__doc__)
    name, file = sys.argv[-2:]
    facts = Facts()
    objects = list(yaml.safe_load_all(pathlib.Path(file).read_text()))

    def load():
        return Cluster(name, copy.deepcopy(objects))

    if mutate:
        sys.exit(mutations.run(load, lambda check, cluster: any(True for _ in faults(check, cluster, facts)), POLICIES))
    found = [f"{title}: {fault}" for title, check in POLICIES.items() for fault in faults(check, load(), facts)]
    for fault in found:
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"{name}: {len(POLICIES)} policies")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
