"""The rendered objects of an overlay, and what the code and the compose file say about them."""

import json
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NAMESPACE = "observation"
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def source(path):
    return (ROOT / path).read_text()


def number(path, pattern):
    found = re.search(pattern, source(path))
    if not found:
        sys.exit(f"{path} has no {pattern}: policies.py reads a number there")
    return int(found[1])


class Facts:
    """What the code and the compose file say."""

    def __init__(self):
        self.longest_way_out = number(
            "crates/api/src/config/server.rs", r"LONGEST_WAY_OUT: Duration = Duration::from_secs\((\d+)\)"
        )
        self.port = number("crates/api/src/config/server.rs", r"DEFAULT_LISTEN_ADDR: [^=]+= \(\[0, 0, 0, 0\], (\d+)\)")
        self.database_connections = number("crates/api/src/config/database.rs", r"const MAX_CONNECTIONS: u32 = (\d+);")
        self.concurrency_limit = number("docs/configuration.md", r"\| `CONCURRENCY_LIMIT` \| `(\d+)` \|")
        self.paths = set(json.loads(source("crates/api/src/routes/openapi.json"))["paths"])
        # `every_variable_is_documented` is a test of the API.
        rows = [line.split("|")[1] for line in source("docs/configuration.md").splitlines() if line.startswith("|")]
        self.variables = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
        self.compose = yaml.safe_load(source("docker-compose.yml"))["services"]
        self.rules = [
            group
            for file in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
            for group in yaml.safe_load(file.read_text())["groups"]
        ]
        self.dashboards = {file.name: file.read_text() for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
        self.secrets = set(re.findall(r"^secret ([a-z-]+) ", source("deploy/kubernetes/make-secrets.sh"), re.M))

    def default(self, text):
        """The default in `${NAME:-default}`."""
        return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(text))


class Missing(Exception):
    """An object that a policy reads is not there."""


class Cluster:
    """The rendered objects of one overlay."""

    def __init__(self, name, objects):
        self.name = name
        self.objects = objects

    def all(self, *kinds):
        return [found for found in self.objects if found["kind"] in kinds]

    def get(self, kind, name):
        for found in self.all(kind):
            if found["metadata"]["name"] == name or (
                kind == "ConfigMap" and re.fullmatch(name + "-[a-z0-9]{10}", found["metadata"]["name"])
            ):
                return found
        raise Missing(f"{self.name} has no {kind} {name}")

    def pods(self):
        """Everything that makes pods, as (object, pod labels, pod spec)."""
        for workload in self.all(*WORKLOADS):
            template = workload["spec"]["template"]
            yield workload, template["metadata"]["labels"], template["spec"]

    def labelled(self):
        """All labels that pods have; the pods of CloudNativePG are not in the manifests."""
        labels = [labels for _, labels, _ in self.pods()]
        return labels + [found["spec"].get("inheritedMetadata", {}).get("labels", {}) for found in self.all("Cluster")]

    def ports(self, labels_selector):
        """The ports of the containers that a selector finds, by name and by number."""
        found = set()
        for _, labels, spec in self.pods():
            if selects(labels_selector, labels):
                for container in spec["containers"]:
                    for port in container.get("ports", []):
                        found |= {port["name"], port["containerPort"]}
        return found

    def replicated(self):
        scaled = {found["spec"]["scaleTargetRef"]["name"] for found in self.all("HorizontalPodAutoscaler")}
        for found in self.all("Deployment"):
            if found["metadata"]["name"] in scaled or found["spec"].get("replicas", 1) > 1:
                yield found


def named(thing):
    return f"{thing['kind']} {thing['metadata']['name']}"


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def selects(selector, labels):
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for wanted in selector.get("matchExpressions", []):
        value, inside = labels.get(wanted["key"]), wanted.get("values", [])
        if wanted["operator"] not in ("In", "NotIn"):
            raise ValueError(wanted["operator"])
        if (value in inside) != (wanted["operator"] == "In"):
            return False
    return True


def mebibytes(quantity):
    value, unit = re.fullmatch(r"(\d+)(Mi|Gi|M|G|mb|gb)", quantity).groups()
    return int(value) * (1024 if unit in ("Gi", "G", "gb") else 1)


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(value) * (60 if unit == "m" else 1)


def environment(cluster, container):
    variables = {}
    for reference in container.get("envFrom", []):
        variables |= cluster.get("ConfigMap", reference["configMapRef"]["name"])["data"]
    return variables | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def files(cluster, spec, container):
    """The paths of the files that come from Secrets."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        for given in [volume.get("secret")] + [part.get("secret") for part in volume.get("projected", {}).get("sources", [])]:
            for item in (given or {}).get("items", []):
                yield f"{mount['mountPath']}/{item['path']}"


def allows(cluster, direction, own, peer, port):
    """Whether the pods with the labels `own` may have this connection. `peer` is labels, or the name of a namespace."""
    key = "from" if direction == "Ingress" else "to"
    for rule in cluster.all("NetworkPolicy"):
        spec = rule["spec"]
        if direction not in spec["policyTypes"] or not selects(spec["podSelector"], own):
            continue
        for entry in spec.get(direction.lower(), []):
            names = {given["port"] for given in entry.get("ports", [])}
            target = own if direction == "Ingress" else peer
            numbers = {port} if isinstance(target, str) else {port, *same_port(cluster, target, port)}
            if names and not names & numbers:
                continue
            if key not in entry:
                return True
            for given in entry[key]:
                if isinstance(peer, str):
                    if given.get("namespaceSelector", {}).get("matchLabels") == {"kubernetes.io/metadata.name": peer}:
                        return True
                elif "namespaceSelector" not in given and selects(given["podSelector"], peer):
                    return True
    return False


def same_port(cluster, labels, port):
    for _, found, spec in cluster.pods():
        if found.get("app") == labels.get("app"):
            for container in spec["containers"]:
                for given in container.get("ports", []):
                    if port in (given["name"], given["containerPort"]):
                        yield given["name"]
                        yield given["containerPort"]
