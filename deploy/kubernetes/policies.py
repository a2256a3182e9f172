"""What the manifests promise beyond their schemas. Each policy is a function that yields its faults; numbers that the code
decides are read from the code (cluster.py). check.py asks them; mutations.py has at least one way to break each.
"""

import collections
import re
from urllib.parse import urlsplit

from cluster import (
    NAMESPACE,
    allows,
    containers,
    environment,
    files,
    mebibytes,
    named,
    seconds,
    selects,
    source,
)

# ---- The policies ----

POLICIES = {}


def policy(function):
    POLICIES[function.__name__] = function
    return function


@policy
def nobody_is_root(cluster, facts):
    for owner, _, spec in cluster.pods():
        pod = spec.get("securityContext", {})
        if not pod.get("runAsNonRoot") or pod.get("runAsUser", 0) == 0 or pod.get("runAsGroup", 0) == 0:
            yield f"{named(owner)} does not say a user and group other than root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{named(owner)} has no seccomp profile"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{named(owner)} has {key}"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{named(owner)} mounts a folder of the node"
        for container in containers(spec):
            own = container.get("securityContext", {})
            if "runAsUser" in own or "runAsNonRoot" in own or own.get("privileged"):
                yield f"{named(owner)}: container {container['name']} overrides the pod's user"
            if own.get("allowPrivilegeEscalation") is not False or not own.get("readOnlyRootFilesystem"):
                yield f"{named(owner)}: container {container['name']} may gain privileges or write to its image"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{named(owner)}: container {container['name']} has capabilities"


@policy
def limits_everywhere(cluster, facts):
    for owner, _, spec in cluster.pods():
        for container in containers(spec):
            for part in ("requests", "limits"):
                missing = {"cpu", "memory"} - set(container.get("resources", {}).get(part, {}))
                if missing:
                    yield f"{named(owner)}: container {container['name']} has no {part} for {', '.join(sorted(missing))}"
    for database in cluster.all("Cluster"):
        if set(database["spec"].get("resources", {}).get("limits", {})) != {"cpu", "memory"}:
            yield f"{named(database)} has no limits"


@policy
def limits_as_under_compose(cluster, facts):
    """Where the lab's recorded figures come from. Production may give Redis and Postgres more."""
    for name in ("api", "nginx", "migrate"):
        kind = "Job" if name == "migrate" else "Deployment"
        limits = cluster.get(kind, name)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        theirs = facts.compose[name]["deploy"]["resources"]["limits"]
        if mebibytes(limits["memory"]) != mebibytes(facts.default(theirs["memory"])):
            yield f"{name} may use {limits['memory']}, and {theirs['memory']} under compose"
        if float(limits["cpu"]) != float(facts.default(theirs["cpus"])):
            yield f"{name} may use {limits['cpu']} CPU, and {theirs['cpus']} under compose"


@policy
def probes_everywhere(cluster, facts):
    for owner, _, spec in cluster.pods():
        if owner["kind"] == "Job":
            continue
        for container in containers(spec):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{named(owner)}: container {container['name']} has no {probe}"


@policy
def probes_ask_no_dependency(cluster, facts):
    for owner, labels, spec in cluster.pods():
        for container in containers(spec):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = container.get(probe, {}).get("httpGet", {}).get("path")
                if path and path not in facts.paths:
                    yield f"{named(owner)}: {path} is no path of the API"
                if labels["app"] == "api" and owner["kind"] == "Deployment":
                    right = "/readyz" if probe == "readinessProbe" else "/livez"
                    if path != right:
                        yield f"{named(owner)}: the {probe} asks {path}, not {right}"


@policy
def ports_exist(cluster, facts):
    for service in cluster.all("Service"):
        ports = cluster.ports({"matchLabels": service["spec"]["selector"]})
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{named(service)}: no container has the port {port['targetPort']}"
            if service["spec"].get("clusterIP") == "None" and port["port"] not in ports:
                yield f"{named(service)} is headless, and no container listens on {port['port']}"
    for owner, _, spec in cluster.pods():
        for container in containers(spec):
            own = {value for port in container.get("ports", []) for value in (port["name"], port["containerPort"])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(action, {}).get("port")
                    if port is not None and port not in own:
                        yield f"{named(owner)}: the {probe} asks the port {port}, which the container has not"
    for ingress in cluster.all("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                names = {port["name"] for port in cluster.get("Service", backend["name"])["spec"]["ports"]}
                if backend["port"].get("name") not in names:
                    yield f"{named(ingress)}: Service {backend['name']} has no port {backend['port']}"
    for monitor in cluster.all("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            services = [
                found
                for found in cluster.all("Service")
                if selects(monitor["spec"]["selector"], found["metadata"].get("labels", {}))
            ]
            if not any(port["name"] == endpoint["port"] for found in services for port in found["spec"]["ports"]):
                yield f"{named(monitor)}: no Service that it selects has the port {endpoint['port']}"
            if endpoint["path"] not in facts.paths:
                yield f"{named(monitor)}: {endpoint['path']} is no path of the API"
    if facts.port not in cluster.ports({"matchLabels": {"app": "api"}}):
        yield f"the API listens on {facts.port}, which its container does not name"
    files = cluster.get("ConfigMap", "nginx")["data"]
    listens = int(re.search(r"listen (\d+)", files["listen.conf"])[1])
    if listens not in cluster.ports({"matchLabels": {"app": "nginx"}}):
        yield f"nginx listens on {listens}, which its container does not name"


@policy
def selectors_match(cluster, facts):
    pods = cluster.labelled()

    def finds(selector):
        return any(selects(selector, labels) for labels in pods)

    for owner, labels, spec in cluster.pods():
        if owner["kind"] != "Job" and not selects(owner["spec"]["selector"], labels):
            yield f"{named(owner)} does not select its own pods"
        for constraint in spec.get("topologySpreadConstraints", []):
            if not selects(constraint["labelSelector"], labels):
                yield f"{named(owner)} spreads other pods than its own"
    for service in cluster.all("Service"):
        if not finds({"matchLabels": service["spec"]["selector"]}):
            yield f"{named(service)} selects no pod"
    for budget in cluster.all("PodDisruptionBudget"):
        if not finds(budget["spec"]["selector"]):
            yield f"{named(budget)} selects no pod"
    for monitor in cluster.all("ServiceMonitor"):
        if not any(
            selects(monitor["spec"]["selector"], found["metadata"].get("labels", {})) for found in cluster.all("Service")
        ):
            yield f"{named(monitor)} selects no Service"
    for rule in cluster.all("NetworkPolicy"):
        if not finds(rule["spec"]["podSelector"]):
            yield f"{named(rule)} selects no pod"
        for entry in rule["spec"].get("ingress", []) + rule["spec"].get("egress", []):
            for peer in entry.get("from", []) + entry.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer and not finds(peer["podSelector"]):
                    yield f"{named(rule)} lets a pod in or out that does not exist"


@policy
def drain_fits_the_grace_period(cluster, facts):
    spec = cluster.get("Deployment", "api")["spec"]["template"]["spec"]
    sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if sleep < 2:
        yield "a replica is stopped before nginx has asked for addresses again (2 s)"
    # 2 s, because the grace period counts from the deletion and a busy node starts preStop late.
    if grace < sleep + facts.longest_way_out + 2:
        yield f"{sleep} s of preStop and {facts.longest_way_out} s of shutdown do not fit into {grace} s with 2 s to spare"


@policy
def the_autoscaler_owns_the_replicas(cluster, facts):
    scaled = cluster.all("HorizontalPodAutoscaler")
    if not scaled:
        yield "nothing scales"
    for scaler in scaled:
        spec = scaler["spec"]
        target = [
            found
            for found in cluster.all(spec["scaleTargetRef"]["kind"])
            if found["metadata"]["name"] == spec["scaleTargetRef"]["name"]
        ]
        if not target:
            yield f"{named(scaler)} has no target"
            continue
        if "replicas" in target[0]["spec"]:
            yield f"{named(target[0])} says replicas, which each apply would set back"
        if not 3 <= spec["minReplicas"] < spec["maxReplicas"]:
            yield f"{named(scaler)}: three are the least, and the most is more"
        metrics = {metric["type"]: metric for metric in spec["metrics"]}
        if "Resource" not in metrics:
            yield f"{named(scaler)} does not go by CPU"
        if cluster.name == "production" and "Pods" not in metrics:
            yield f"{named(scaler)} does not go by requests in flight"
        if "Pods" in metrics:
            metric = metrics["Pods"]["pods"]
            if f"`{metric['metric']['name']}`" not in source("docs/metrics.md"):
                yield f"{named(scaler)}: the API has no metric {metric['metric']['name']}"
            if int(metric["target"]["averageValue"]) > facts.concurrency_limit * 0.6:
                yield f"{named(scaler)}: a replica admits {facts.concurrency_limit}; near that there is no time to scale"


@policy
def disruptions_are_bounded(cluster, facts):
    for workload in cluster.replicated():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        budgets = [found for found in cluster.all("PodDisruptionBudget") if selects(found["spec"]["selector"], labels)]
        if len(budgets) != 1:
            yield f"{named(workload)} has {len(budgets)} PodDisruptionBudgets"
        for budget in budgets:
            if budget["spec"].get("maxUnavailable") != 1 or budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
                yield f"{named(budget)} is not: one at a time, and the ones that are not ready at any time"
        rolling = workload["spec"]["strategy"].get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0:
            yield f"{named(workload)}: an update takes away replicas before it adds one"


@policy
def spread_over_nodes_and_zones(cluster, facts):
    for workload in cluster.replicated():
        spread = workload["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
        keys = collections.Counter(constraint["topologyKey"] for constraint in spread)
        if keys != {"kubernetes.io/hostname": 1, "topology.kubernetes.io/zone": 1}:
            yield f"{named(workload)} is spread by {dict(keys)}, not once by node and once by zone"
        for constraint in spread:
            if constraint.get("matchLabelKeys") != ["pod-template-hash"]:
                yield f"{named(workload)}: an update counts the pods of the old version"


@policy
def lost_nodes_are_left_soon(cluster, facts):
    for workload in cluster.all("Deployment"):
        times = {
            found["key"]: found.get("tolerationSeconds", 300)
            for found in workload["spec"]["template"]["spec"].get("tolerations", [])
        }
        for key in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"):
            if times.get(key, 300) > 30:
                yield f"{named(workload)} stays {times.get(key, 300)} s on a node that is {key.split('/')[1]}"


@policy
def network_is_closed_but_for_what_is_needed(cluster, facts):
    closed = [
        rule
        for rule in cluster.all("NetworkPolicy")
        if rule["spec"]["podSelector"] == {} and not rule["spec"].get("ingress") and not rule["spec"].get("egress")
    ]
    if not any(set(rule["spec"]["policyTypes"]) == {"Ingress", "Egress"} for rule in closed):
        yield "nothing denies what is not allowed, in both directions"
    parts = {name: {"app": name} for name in ("nginx", "api", "migrate", "redis", "postgres")}
    ports = {"nginx": 8080, "api": facts.port, "postgres": 5432, "redis": 6379}
    needed = {("nginx", "api"), ("api", "postgres"), ("api", "redis"), ("migrate", "postgres")}
    if cluster.all("Cluster"):
        needed.add(("postgres", "postgres"))
    for client, own in parts.items():
        for server, port in ports.items():
            out = allows(cluster, "Egress", own, parts[server], port)
            into = allows(cluster, "Ingress", parts[server], own, port)
            if (client, server) in needed:
                if not out:
                    yield f"{client} may not leave for {server}"
                if not into:
                    yield f"{server} does not let {client} in"
            elif out or into:
                yield f"{client} and {server} have no business with each other, and one of both directions is open"
    for name, own in parts.items():
        if allows(cluster, "Egress", own, "kube-system", 53) == (name == "redis"):
            yield f"{name} may{' not' if name != 'redis' else ''} ask for names"
    for namespace, server in (("ingress", "nginx"), ("monitoring", "api")):
        for name in ports:
            if allows(cluster, "Ingress", parts[name], namespace, ports[name]) != (name == server):
                yield f"the namespace {namespace} is to reach {server} and nobody else"


@policy
def no_token(cluster, facts):
    accounts = {found["metadata"]["name"]: found for found in cluster.all("ServiceAccount")}
    for account in accounts.values():
        if account.get("automountServiceAccountToken") is not False:
            yield f"{named(account)} hands out its token"
    for owner, _, spec in cluster.pods():
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{named(owner)} gets a token"
        if spec.get("serviceAccountName") not in accounts:
            yield f"{named(owner)} has no ServiceAccount of its own"


@policy
def rules_and_dashboards_are_the_repositorys(cluster, facts):
    if cluster.name != "production":
        return
    if cluster.get("PrometheusRule", "stack")["spec"]["groups"] != facts.rules:
        yield "the alert rules are not those of deploy/prometheus/rules"
    if cluster.get("ConfigMap", "dashboards")["data"] != facts.dashboards:
        yield "the dashboards are not those of deploy/grafana/dashboards"


@policy
def scrapes_are_dense_enough(cluster, facts):
    ranges = [
        seconds(found)
        for group in facts.rules
        for rule in group["rules"]
        for found in re.findall(r"rate\([^\[\]]*\[(\d+[sm])\]", rule["expr"])
    ]
    for monitor in cluster.all("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            if seconds(endpoint["interval"]) * 4 > min(ranges):
                yield f"{named(monitor)}: a rate over {min(ranges)} s needs four samples"
            if not endpoint.get("honorLabels") or endpoint.get("params") != {"labels": ["instance"]}:
                yield f"{named(monitor)}: series do not have the names that replicas give themselves"


@policy
def images_are_named(cluster, facts):
    known = dict(facts.default(service["image"]).rsplit(":", 1) for service in facts.compose.values())
    for owner, _, spec in cluster.pods():
        for container in containers(spec):
            name, _, tag = container["image"].rpartition(":")
            if not name or tag == "latest" or "/" in tag:
                yield f"{named(owner)}: {container['image']} names no version"
            elif name in known and "/" not in name and tag != known[name]:
                yield f"{named(owner)}: {container['image']}, and {name}:{known[name]} under compose"


@policy
def variables_are_the_apis(cluster, facts):
    for owner, labels, spec in cluster.pods():
        for container in containers(spec):
            variables = environment(cluster, container)
            mounted = set(files(cluster, spec, container))
            for name, value in variables.items():
                if labels["app"] in ("api", "migrate") and name not in facts.variables:
                    yield f"{named(owner)}: the API has no variable {name}"
                if name.endswith("_FILE") and value not in mounted:
                    yield f"{named(owner)}: {name} is {value}, which no Secret is mounted as"
                if name.endswith("_URL"):
                    url = urlsplit(value)
                    if url.password:
                        yield f"{named(owner)}: {name} holds a password"
                    services = {found["metadata"]["name"] for found in cluster.all("Service")}
                    services |= {
                        f"{found['metadata']['name']}-{role}" for found in cluster.all("Cluster") for role in ("rw", "ro", "r")
                    }
                    if url.hostname not in services:
                        yield f"{named(owner)}: {name} names {url.hostname}, which is no Service"
            if labels["app"] == "api" and not {"DATABASE_URL", "REDIS_URL"} <= set(variables):
                yield f"{named(owner)} is not told where Postgres and Redis are"


@policy
def references_exist(cluster, facts):
    maps = {found["metadata"]["name"]: found for found in cluster.all("ConfigMap")}
    for owner, _, spec in cluster.pods():
        claims = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in spec.get("volumes", [])} | claims
        for volume in spec.get("volumes", []):
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"{named(owner)}: there is no ConfigMap {volume['configMap']['name']}"
            given = [volume["secret"]["secretName"]] if "secret" in volume else []
            given += [part["secret"]["name"] for part in volume.get("projected", {}).get("sources", [])]
            for name in set(given) - facts.secrets:
                yield f"{named(owner)}: make-secrets.sh makes no Secret {name}"
        for container in containers(spec):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{named(owner)}: there is no volume {mount['name']}"
    for database in cluster.all("Cluster"):
        initdb = database["spec"]["bootstrap"]["initdb"]
        for reference in initdb["postInitApplicationSQLRefs"]["configMapRefs"]:
            if reference["key"] not in maps.get(reference["name"], {}).get("data", {}):
                yield f"{named(database)}: there is no {reference['key']} in a ConfigMap {reference['name']}"
        roles = database["spec"]["managed"]["roles"]
        for name in {initdb["secret"]["name"], *(role["passwordSecret"]["name"] for role in roles)} - facts.secrets:
            yield f"{named(database)}: make-secrets.sh makes no Secret {name}"


@policy
def no_secret_is_in_the_repository(cluster, facts):
    for found in cluster.all("Secret"):
        yield f"{named(found)} is in the manifests"


@policy
def everything_is_in_the_namespace(cluster, facts):
    for found in cluster.objects:
        if found["kind"] != "Namespace" and found["metadata"].get("namespace") != NAMESPACE:
            yield f"{named(found)} is not in {NAMESPACE}"
    if cluster.get("Namespace", NAMESPACE)["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce the restricted profile"


@policy
def connections_to_postgres_suffice(cluster, facts):
    scaler = cluster.get("HorizontalPodAutoscaler", "api")["spec"]
    surge = cluster.get("Deployment", "api")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    # Ten more for the migration, the operator and people.
    wanted = (scaler["maxReplicas"] + surge) * facts.database_connections + 10
    databases = cluster.all("Cluster")
    offered = int(databases[0]["spec"]["postgresql"]["parameters"]["max_connections"]) if databases else 100
    if wanted > offered:
        yield f"{scaler['maxReplicas']} replicas and {surge} more may want {wanted} connections, and Postgres has {offered}"


@policy
def nginx_sends_no_more_than_a_replica_admits(cluster, facts):
    servers = re.findall(
        r"^server ([^:;\s]+):(\d+) .*max_conns=(\d+)", cluster.get("ConfigMap", "nginx")["data"]["servers.conf"], re.M
    )
    count = cluster.get("Deployment", "nginx")["spec"]["replicas"]
    sent = count * sum(int(most) for _, _, most in servers)
    if not servers or sent > facts.concurrency_limit:
        yield f"{count} nginx send a replica {sent} requests at a time, and it admits {facts.concurrency_limit}"
    for host, port, _ in servers:
        if host != f"api.{NAMESPACE}.svc.cluster.local" or int(port) != facts.port:
            yield f"nginx sends to {host}:{port}"
    if cluster.get("Service", "api")["spec"].get("clusterIP") != "None":
        yield "the name of the API is one address for all replicas, so nginx cannot tell them apart"


@policy
def redis_fits_its_memory(cluster, facts):
    container = cluster.get("Deployment", "redis")["spec"]["template"]["spec"]["containers"][0]
    most = mebibytes(environment(cluster, container)["REDIS_MAXMEMORY"])
    limit = mebibytes(container["resources"]["limits"]["memory"])
    # Buffers of clients and the heap's own losses are not in maxmemory.
    if most * 2 > limit:
        yield f"{most} MiB of entries may need more than {limit} MiB"


@policy
def postgres_fails_over_without_loss(cluster, facts):
    if cluster.name != "production":
        return
    for database in cluster.all("Cluster"):
        spec = database["spec"]
        synchronous = spec["postgresql"].get("synchronous", {})
        if synchronous.get("number", 0) < 1 or synchronous.get("dataDurability") != "required":
            yield f"{named(database)}: an acknowledged commit may be on one node alone"
        if spec["instances"] < 2 + synchronous.get("number", 0):
            yield f"{named(database)}: one instance lost, and nothing is written"
        if spec.get("switchoverDelay", 3600) > 60:
            yield f"{named(database)}: a primary that is asked to leave may take {spec.get('switchoverDelay', 3600)} s"
        if spec.get("affinity", {}).get("podAntiAffinityType") != "required":
            yield f"{named(database)}: two instances may be on one node"
        if spec.get("enableSuperuserAccess"):
            yield f"{named(database)}: the superuser may log in"
    if not cluster.all("Cluster"):
        yield "there is no database that fails over"
