#!/usr/bin/env python3
"""Compares the two files that describe the same stack, so that they do not drift: docker-compose.yml and stack.yaml.

compare.py            compares them
compare.py --mutate   changes stack.yaml in several ways, and fails when one is not noticed
"""

import copy
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Services that compose has and Swarm does not, and why.
ELSEWHERE = {
    "secrets": "make-secrets.sh runs before, and Swarm keeps the secrets",
    "roles": "the image of Postgres runs make-roles.sh itself",
    "prometheus": "each cluster has its own",
    "grafana": "each cluster has its own",
}
# Keys that mean the same in both.
SHARED = ("image", "user", "read_only", "cap_drop", "logging", "entrypoint", "command", "healthcheck", "stop_grace_period")
# What Swarm ignores, and what the stack has in its place.
IGNORED = ("restart", "security_opt", "shm_size", "depends_on", "container_name", "build", "env_file", "network_mode")


def load(path):
    return yaml.safe_load((ROOT / path).read_text())


def environment(service):
    """Literal variables, and those of the file that compose reads for the replicas."""
    variables = dict(service.get("environment", {}))
    for entry in service.get("env_file", []):
        if isinstance(entry, str):
            for line in (ROOT / entry).read_text().splitlines():
                if line and not line.startswith("#"):
                    name, _, value = line.partition("=")
                    variables[name] = value
    return {name: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value) for name, value in variables.items()}


def limits(service):
    given = service["deploy"]["resources"]["limits"]
    return {name: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value)) for name, value in given.items()}


def faults(compose, stack):
    theirs, ours = compose["services"], stack["services"]
    for name in sorted(set(theirs) ^ set(ours) ^ set(ELSEWHERE)):
        yield f"{name} is in one of the files only"
    for name in sorted(set(theirs) & set(ours)):
        one, two = theirs[name], ours[name]
        for key in SHARED:
            if one.get(key) != two.get(key):
                yield f"{name}: {key} is {one.get(key)} under compose and {two.get(key)} here"
        if limits(one) != limits(two):
            yield f"{name}: the limits are {limits(one)} under compose and {limits(two)} here"
        if two["deploy"].get("mode") is None and two["deploy"]["replicas"] != one["deploy"].get("replicas", 1):
            yield f"{name}: the number of replicas differs"
        for key in sorted(set(IGNORED) & set(two)):
            yield f"{name}: Swarm ignores {key}"
        if set(one["networks"]) != set(two["networks"]):
            yield f"{name}: the networks are {one['networks']} under compose and {two['networks']} here"
        variables, own = environment(one), environment(two)
        # Swarm mounts Postgres' secrets where make-roles.sh looks for them.
        if name == "postgres":
            variables["POSTGRES_PASSWORD_FILE"] = "/secrets/postgres/superuser-password"
        if variables != own:
            yield f"{name}: the environment is {variables} under compose and {own} here"
        mounted = {
            secret["target"] if secret["target"].startswith("/") else f"/run/secrets/{secret['target']}"
            for secret in two.get("secrets", [])
        }
        for variable, value in own.items():
            if variable.endswith("_FILE") and value not in mounted:
                yield f"{name}: {variable} is {value}, which no secret is mounted as"
        if two["deploy"].get("mode") != "replicated-job":
            if two["deploy"].get("endpoint_mode") != "dnsrr":
                yield f"{name}: its name is not the addresses of its tasks"
            if (
                two["deploy"].get("update_config", {}).get("failure_action") != "rollback"
                or "rollback_config" not in two["deploy"]
            ):
                yield f"{name}: an update that fails stays"
            if (
                two["deploy"].get("update_config", {}).get("order") == "start-first"
                and "max_replicas_per_node" in two["deploy"].get("placement", {})
            ):
                yield f"{name}: an update waits for ever where each node has as many as it may"
        for kind in ("configs", "secrets"):
            for used in two.get(kind, []):
                if used["source"] not in stack[kind]:
                    yield f"{name}: there is no {used['source']} among the {kind}"
    for name, given in stack["configs"].items():
        if not (HERE / given["file"]).is_file():
            yield f"the config {name} is {given['file']}, which is no file"
    # nginx gets the same files at the same places.
    files = {}
    for volume in theirs["nginx"]["volumes"]:
        if isinstance(volume, dict):
            files[volume["target"]] = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", volume["source"])
        else:
            path, target = volume.split(":")[:2]
            if (ROOT / path).is_dir():
                names = ("main.conf", "http.conf", "listen.conf", "servers.conf")
                files |= {f"{target}/{name}": f"{path}/{name}" for name in names}
            else:
                files[target] = path
    here = {
        used["target"]: stack["configs"].get(used["source"], {}).get("file", "") for used in ours["nginx"].get("configs", [])
    }
    for target in sorted(set(files) | set(here)):
        if target not in files or target not in here or (ROOT / files[target]).resolve() != (HERE / here[target]).resolve():
            yield f"nginx: {target} is {files.get(target)} under compose and {here.get(target)} here"
    for name in ("edge", "data"):
        if not stack["networks"][name].get("internal"):
            yield f"the network {name} leads outside"


def service(stack, name):
    return stack["services"][name]


MUTATIONS = (
    lambda s: s["services"].pop("migrate"),
    lambda s: s["services"].update(proxy=s["services"]["nginx"]),
    lambda s: service(s, "redis").update(image="redis:7"),
    lambda s: service(s, "redis")["command"].pop(),
    lambda s: service(s, "api").pop("read_only"),
    lambda s: service(s, "api").update(stop_grace_period="5s"),
    lambda s: service(s, "api")["environment"].update(CACHE="off"),
    lambda s: service(s, "api")["environment"].update(REDIS_PASSWORD_FILE="/run/secrets/redis"),
    lambda s: service(s, "api")["secrets"].pop(),
    lambda s: service(s, "api")["deploy"]["resources"]["limits"].update(memory="512M"),
    lambda s: service(s, "api")["deploy"].update(replicas=2),
    lambda s: service(s, "api")["deploy"].pop("endpoint_mode"),
    lambda s: service(s, "api")["deploy"]["update_config"].pop("failure_action"),
    lambda s: service(s, "api")["deploy"]["placement"].update(max_replicas_per_node=2),
    lambda s: service(s, "api").update(restart="always"),
    lambda s: service(s, "api")["networks"].append("front"),
    lambda s: service(s, "nginx")["healthcheck"].update(interval="30s"),
    lambda s: service(s, "nginx")["configs"].pop(),
    lambda s: s["configs"]["nginx-servers.conf"].update(file="../../nginx/kubernetes/servers.conf"),
    lambda s: s["configs"]["roles.sql"].update(file="../postgres/role.sql"),
    lambda s: s["secrets"].pop("redis-app"),
    lambda s: s["networks"]["data"].pop("internal"),
)


def main():
    compose, stack = load("docker-compose.yml"), load("deploy/swarm/stack.yaml")
    if sys.argv[1:] == ["--mutate"]:
        missed = []
        for index, mutation in enumerate(MUTATIONS):
            changed = copy.deepcopy(stack)
            mutation(changed)
            if not any(faults(compose, changed)):
                missed.append(index + 1)
        print(f"stack.yaml: {len(MUTATIONS)} mutations" + (f", not noticed: {missed}" if missed else ""))
        sys.exit(1 if missed else 0)
    if sys.argv[1:]:
        sys.exit(__doc__)
    found = list(faults(compose, stack))
    for fault in found:
        print(f"stack.yaml: {fault}", file=sys.stderr)
    print(f"stack.yaml: {len(stack['services'])} services compared with docker-compose.yml")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
