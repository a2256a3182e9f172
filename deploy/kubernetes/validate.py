#!/usr/bin/env python3
"""Validates rendered manifests against the schemas of Kubernetes and of the custom resources.

validate.py FILE…     (CRDS=FOLDER: against the CustomResourceDefinitions there as well)
"""

import copy
import os
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

# The oldest version in which every field that is used here is on by default, and the newest that there are schemas for.
VERSIONS = ("1.32", "1.37")
HERE = pathlib.Path(__file__).resolve().parent


def closed(schema):
    """An object with named fields takes no others."""
    if isinstance(schema, dict):
        named = schema.get("type") == "object" and "properties" in schema
        if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            closed(part)
    elif isinstance(schema, list):
        for part in schema:
            closed(part)
    return schema


def own_schemas():
    schemas = yaml.safe_load((HERE / "schemas.yaml").read_text())
    definitions = schemas.pop("definitions")
    return {
        kind: {
            "type": "object",
            "additionalProperties": False,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}, "spec": spec},
            "definitions": definitions,
        }
        for kind, spec in schemas.items()
    }


def crd_schemas(folder):
    schemas = {}
    for file in sorted(pathlib.Path(folder).glob("*.y*ml")):
        for crd in yaml.safe_load_all(file.read_text()):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = closed(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
                schema["properties"]["metadata"] = {"type": "object"}
                schemas[f"{spec['group']}/{version['name']}/{spec['names']['kind']}"] = schema
    return schemas


def faults(document, own, crds):
    kind = f"{document['apiVersion']}/{document['kind']}"
    if kind in own:
        for schema in [own[kind], *([crds[kind]] if kind in crds else [])]:
            for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
                yield f"{error.json_path}: {error.message}"
        if os.environ.get("CRDS") and kind not in crds:
            yield "its definition is not in the folder CRDS"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.VersionNotSupportedError) as error:
            yield f"Kubernetes {version}: {error}"


# Ways to break a manifest of the overlay `production`: what is no field, and what has a wrong type.
MUTATIONS = (
    (r"terminationGracePeriodSeconds:", "terminationGracePeriod:"),
    (r"unhealthyPodEvictionPolicy: .*", "unhealthyPodEvictionPolicy: 3"),
    (r"maxReplicas: .*", "maxReplicas: many"),
    (r"switchoverDelay:", "switchOverDelay:"),
    (r"honorLabels:", "honourLabels:"),
    (r"for: 5s", "for: soon"),
)


def main():
    own = own_schemas()
    crds = crd_schemas(os.environ["CRDS"]) if os.environ.get("CRDS") else {}
    mutate = sys.argv[1:2] == ["--mutate"]
    bad = 0
    for file in map(pathlib.Path, sys.argv[2 if mutate else 1 :]):
        texts = re.split(r"^---\n", file.read_text(), flags=re.M)
        if mutate:
            for old, new in MUTATIONS:
                broken = [re.sub(old, new, text) for text in texts if re.search(old, text)]
                if not broken or not all(any(faults(yaml.safe_load(text), own, crds)) for text in broken):
                    bad += 1
                    print(f"{file.name}: the schemas do not notice {new}", file=sys.stderr)
            print(f"{file.name}: {len(MUTATIONS)} mutations of types and names")
            continue
        for document in map(yaml.safe_load, texts):
            for fault in faults(document, own, crds):
                bad += 1
                print(f"{file.name}: {document['kind']} {document['metadata']['name']}: {fault}", file=sys.stderr)
        print(f"{file.name}: {len(texts)} objects against the schemas of Kubernetes {' and '.join(VERSIONS)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
