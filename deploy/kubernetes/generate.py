#!/usr/bin/env python3
"""Writes the files that hold what another file of the repository says: the alert rules as a PrometheusRule, and roles.sql
with empty passwords in front, because CloudNativePG sets them itself.

    generate.py           writes them
    generate.py --check   fails when one is not fresh
"""

import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
DEPLOY = HERE.parent


def rules():
    groups = []
    for file in sorted((DEPLOY / "prometheus/rules").glob("*.yml")):
        groups += yaml.safe_load(file.read_text())["groups"]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "stack", "labels": {"app": "api"}},
        "spec": {"groups": groups},
    }
    return "# Generated from deploy/prometheus/rules: generate.py\n" + yaml.safe_dump(document, sort_keys=False, width=110)


def roles():
    settings = "".join(f"SET stack.{role}_password = '';\n" for role in ("superuser", "migrator", "app"))
    return (
        "-- Generated from deploy/postgres/roles.sql: generate.py\n"
        "-- No passwords: the operator sets them after this has run.\n"
        + settings
        + "\n"
        + (DEPLOY / "postgres/roles.sql").read_text()
    )


FILES = {
    HERE / "monitoring/rules.yaml": rules,
    HERE / "overlays/production/roles.sql": roles,
}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    for file, content in FILES.items():
        if not check:
            file.write_text(content())
        elif not file.exists() or file.read_text() != content():
            sys.exit(f"{file.relative_to(HERE)} is not fresh: run deploy/kubernetes/generate.py")


if __name__ == "__main__":
    main()
