"""For each policy, ways to break it: `cluster` is a fresh copy of a rendered overlay, and the policy must notice."""


def pod(cluster, name="api", kind="Deployment"):
    return cluster.get(kind, name)["spec"]["template"]["spec"]


def container(cluster, name="api", kind="Deployment"):
    return pod(cluster, name, kind)["containers"][0]


def data(cluster, name):
    return cluster.get("ConfigMap", name)["data"]


def network(cluster, name):
    return cluster.get("NetworkPolicy", name)["spec"]


def scaler(cluster):
    return cluster.get("HorizontalPodAutoscaler", "api")["spec"]


def database(cluster):
    return cluster.get("Cluster", "postgres")["spec"]


def put(mapping, key, value):
    mapping[key] = value


def replace(mapping, key, old, new):
    assert old in mapping[key], f"{old} is not in {key}"
    mapping[key] = mapping[key].replace(old, new)


MUTATIONS = {
    "nobody_is_root": [
        lambda c: put(pod(c)["securityContext"], "runAsUser", 0),
        lambda c: pod(c, "redis")["securityContext"].pop("runAsNonRoot"),
        lambda c: put(container(c, "migrate", "Job")["securityContext"], "allowPrivilegeEscalation", True),
        lambda c: put(container(c)["securityContext"], "capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        lambda c: container(c, "nginx")["securityContext"].pop("readOnlyRootFilesystem"),
        lambda c: put(pod(c), "hostNetwork", True),
    ],
    "limits_everywhere": [
        lambda c: container(c)["resources"]["limits"].pop("memory"),
        lambda c: container(c, "migrate", "Job").pop("resources"),
    ],
    "limits_as_under_compose": [
        lambda c: put(container(c)["resources"]["limits"], "memory", "512Mi"),
        lambda c: put(container(c, "nginx")["resources"]["limits"], "cpu", "2"),
    ],
    "probes_everywhere": [
        lambda c: container(c).pop("livenessProbe"),
        lambda c: container(c, "nginx").pop("startupProbe"),
    ],
    "probes_ask_no_dependency": [
        lambda c: put(container(c)["readinessProbe"]["httpGet"], "path", "/health"),
        lambda c: put(container(c)["livenessProbe"]["httpGet"], "path", "/healthz"),
    ],
    "ports_exist": [
        lambda c: put(c.get("Service", "nginx")["spec"]["ports"][0], "targetPort", "https"),
        lambda c: put(c.get("Service", "api")["spec"]["ports"][0], "port", 80),
        lambda c: put(container(c)["livenessProbe"]["httpGet"], "port", 9000),
        lambda c: put(container(c)["ports"][0], "containerPort", 9000),
        lambda c: replace(data(c, "nginx"), "listen.conf", "listen 8080", "listen 80"),
    ],
    "selectors_match": [
        lambda c: put(c.get("Service", "redis")["spec"]["selector"], "app", "valkey"),
        lambda c: put(c.get("PodDisruptionBudget", "api")["spec"]["selector"]["matchLabels"], "app", "apis"),
        lambda c: put(c.get("Deployment", "api")["spec"]["template"]["metadata"]["labels"], "app", "apis"),
        lambda c: put(network(c, "migrate")["podSelector"]["matchLabels"], "app", "migration"),
        lambda c: put(pod(c)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"], "app", "nginx"),
    ],
    "drain_fits_the_grace_period": [
        lambda c: put(pod(c), "terminationGracePeriodSeconds", 15),
        lambda c: container(c).pop("lifecycle"),
        lambda c: put(container(c)["lifecycle"]["preStop"]["sleep"], "seconds", 10),
    ],
    "the_autoscaler_owns_the_replicas": [
        lambda c: put(c.get("Deployment", "api")["spec"], "replicas", 3),
        lambda c: put(scaler(c)["scaleTargetRef"], "name", "apis"),
        lambda c: put(scaler(c), "minReplicas", 1),
        lambda c: put(scaler(c), "metrics", []),
    ],
    "disruptions_are_bounded": [
        lambda c: c.objects.remove(c.get("PodDisruptionBudget", "nginx")),
        lambda c: put(c.get("PodDisruptionBudget", "api")["spec"], "maxUnavailable", 2),
        lambda c: c.get("PodDisruptionBudget", "api")["spec"].pop("unhealthyPodEvictionPolicy"),
        lambda c: put(c.get("Deployment", "api")["spec"]["strategy"]["rollingUpdate"], "maxUnavailable", 1),
    ],
    "spread_over_nodes_and_zones": [
        lambda c: pod(c)["topologySpreadConstraints"].pop(),
        lambda c: pod(c)["topologySpreadConstraints"][0].pop("matchLabelKeys"),
    ],
    "lost_nodes_are_left_soon": [
        lambda c: pod(c).pop("tolerations"),
        lambda c: put(pod(c, "redis")["tolerations"][0], "tolerationSeconds", 300),
    ],
    "network_is_closed_but_for_what_is_needed": [
        lambda c: c.objects.remove(c.get("NetworkPolicy", "deny-all")),
        lambda c: network(c, "api")["egress"].pop(),
        lambda c: network(c, "redis")["ingress"].pop(),
        lambda c: put(network(c, "migrate")["egress"][0], "ports", [{"port": 5433, "protocol": "TCP"}]),
        lambda c: network(c, "postgres")["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"].append(
            "nginx"
        ),
        lambda c: network(c, "nginx")["ingress"][0].pop("from"),
        lambda c: c.objects.remove(c.get("NetworkPolicy", "dns")),
    ],
    "no_token": [
        lambda c: pod(c).pop("automountServiceAccountToken"),
        lambda c: c.get("ServiceAccount", "nginx").pop("automountServiceAccountToken"),
        lambda c: pod(c, "redis").pop("serviceAccountName"),
    ],
    "rules_and_dashboards_are_the_repositorys": [
        lambda c: c.get("PrometheusRule", "stack")["spec"]["groups"].pop(),
        lambda c: c.get("PrometheusRule", "stack")["spec"]["groups"][0]["rules"][0].update(expr="vector(1)"),
        lambda c: data(c, "dashboards").pop("slo.json"),
    ],
    "scrapes_are_dense_enough": [
        lambda c: put(c.get("ServiceMonitor", "api")["spec"]["endpoints"][0], "interval", "30s"),
        lambda c: c.get("ServiceMonitor", "api")["spec"]["endpoints"][0].pop("honorLabels"),
    ],
    "images_are_named": [
        lambda c: put(container(c), "image", "phase-observation/api"),
        lambda c: put(container(c), "image", "phase-observation/api:latest"),
        lambda c: put(container(c, "nginx"), "image", "nginx:1.27.0"),
    ],
    "variables_are_the_apis": [
        lambda c: put(data(c, "api"), "DATABASE_MAX_CONNECTIONS", "20"),
        lambda c: put(data(c, "api"), "REDIS_PASSWORD_FILE", "/run/secrets/password"),
        lambda c: replace(data(c, "api"), "DATABASE_URL", "app@", "app:geheim@"),
        lambda c: replace(data(c, "api"), "DATABASE_URL", "postgres-rw", "postgres"),
        lambda c: data(c, "api").pop("REDIS_URL"),
    ],
    "references_exist": [
        lambda c: c.objects.remove(c.get("ConfigMap", "nginx")),
        lambda c: put(pod(c, "redis")["volumes"][0]["secret"], "secretName", "redis"),
        lambda c: container(c)["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"}),
    ],
    "no_secret_is_in_the_repository": [
        lambda c: c.objects.append({"kind": "Secret", "metadata": {"name": "redis-app", "namespace": "observation"}}),
    ],
    "everything_is_in_the_namespace": [
        lambda c: put(c.get("Service", "api")["metadata"], "namespace", "default"),
        lambda c: c.get("Namespace", "observation")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"),
    ],
    "connections_to_postgres_suffice": [
        lambda c: put(scaler(c), "maxReplicas", 30),
    ],
    "nginx_sends_no_more_than_a_replica_admits": [
        lambda c: put(c.get("Deployment", "nginx")["spec"], "replicas", 3),
        lambda c: replace(data(c, "nginx"), "servers.conf", "max_conns=40", "max_conns=80"),
        lambda c: replace(data(c, "nginx"), "servers.conf", "api.observation.", "api.default."),
        lambda c: c.get("Service", "api")["spec"].pop("clusterIP"),
    ],
    "redis_fits_its_memory": [
        lambda c: put(container(c, "redis")["env"][0], "value", "1gb"),
    ],
    "postgres_fails_over_without_loss": [
        lambda c: database(c).pop("switchoverDelay"),
        lambda c: database(c)["postgresql"].pop("synchronous"),
        lambda c: put(database(c), "instances", 2),
        lambda c: put(database(c)["affinity"], "podAntiAffinityType", "preferred"),
        lambda c: c.objects.remove(c.get("Cluster", "postgres")),
    ],
}

# Further ones for objects that only the overlay `production` has.
PRODUCTION = {
    "ports_exist": [
        lambda c: put(c.get("ServiceMonitor", "api")["spec"]["endpoints"][0], "port", "metrics"),
        lambda c: put(
            c.get("Ingress", "nginx")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"], "name", "web"
        ),
    ],
    "selectors_match": [lambda c: put(database(c), "inheritedMetadata", {})],
    "limits_everywhere": [lambda c: database(c)["resources"].pop("limits")],
    "references_exist": [
        lambda c: put(database(c)["bootstrap"]["initdb"]["secret"], "name", "database-owner"),
        lambda c: c.objects.remove(c.get("ConfigMap", "postgres-roles")),
    ],
    "the_autoscaler_owns_the_replicas": [
        lambda c: scaler(c)["metrics"].pop(),
        lambda c: put(scaler(c)["metrics"][1]["pods"]["target"], "averageValue", "100"),
        lambda c: put(scaler(c)["metrics"][1]["pods"]["metric"], "name", "requests_in_flight"),
    ],
    "network_is_closed_but_for_what_is_needed": [lambda c: network(c, "postgres-operator")["ingress"].pop()],
    "connections_to_postgres_suffice": [lambda c: put(database(c)["postgresql"]["parameters"], "max_connections", "100")],
}

ONLY_PRODUCTION = {
    "rules_and_dashboards_are_the_repositorys",
    "scrapes_are_dense_enough",
    "postgres_fails_over_without_loss",
}


def run(load, notices, policies):
    """The exit code: 0 when each policy notices each of its mutations."""
    missed, tried = [], 0
    for title, check in policies.items():
        production = load().name == "production"
        if title in ONLY_PRODUCTION and not production:
            continue
        mutations = MUTATIONS.get(title, []) + (PRODUCTION.get(title, []) if production else [])
        if not mutations:
            missed.append(f"{title} has no mutation")
        for index, mutation in enumerate(mutations):
            cluster = load()
            mutation(cluster)
            tried += 1
            if not notices(check, cluster):
                missed.append(f"{title} does not notice its mutation {index + 1}")
    for line in missed:
        print(f"{load().name}: {line}")
    print(f"{load().name}: {tried} mutations")
    return 1 if missed else 0
