"""The Swarm of three nodes and the stack on it, as its manager tells."""

import collections
import json
import os

from process import run
from waiting import until

STACK = "observation"
# A worker that is silent for three heartbeats is lost. Docker's default is 5 s.
HEARTBEAT = "2s"

# A task of a service. `state` is Docker's word: `Running` when the health check has passed.
Task = collections.namedtuple("Task", "id name image node desired state error")


class Cluster:
    def __init__(self, root, nodes, images, secrets):
        self.root = root
        self.nodes = nodes
        self.manager = nodes[0]
        self.images = images
        self.secrets = secrets

    def form(self):
        first = self.manager
        first.docker("swarm", "init", "--advertise-addr", first.address, "--dispatcher-heartbeat", HEARTBEAT, limit=30)
        token = first.docker("swarm", "join-token", "--quiet", "worker")
        for node in self.nodes[1:]:
            node.docker("swarm", "join", "--advertise-addr", node.address, "--token", token, first.address, limit=30)
        first.docker("node", "update", "--label-add", "postgres=true", first.name)
        until("three nodes are ready", lambda: list(self.node_states().values()) == ["Ready"] * 3, 20)

    def node_states(self):
        lines = self.manager.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}").splitlines()
        return dict(sorted(line.split() for line in lines))

    def deploy(self, api_image):
        """stack.yaml as it is. The images are on the nodes: no registry is asked for their digests."""
        variables = {**self.images, "API_IMAGE": api_image, "SECRETS": str(self.secrets)}
        stack = str(self.root / "deploy/swarm/stack.yaml")
        self.manager.docker(
            *("stack", "deploy", "--resolve-image", "never", "--compose-file", stack, STACK),
            limit=30,
            env=os.environ | variables,
        )

    def tasks(self, service):
        fields = "{{.ID}}|{{.Name}}|{{.Image}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}"
        lines = self.manager.docker("service", "ps", "--no-trunc", "--format", fields, f"{STACK}_{service}").splitlines()
        split = [line.split("|", 6) for line in lines]
        return [Task(*words[:5], words[5].split()[0], words[6]) for words in split]

    def running(self, service):
        """Its tasks that are to run and do, on nodes that the manager sees."""
        states = self.node_states()
        return [
            task
            for task in self.tasks(service)
            if task.desired == "Running" and task.state == "Running" and states.get(task.node) == "Ready"
        ]

    def runs(self, service, count, image=None):
        """Whether exactly `count` tasks run, all with `image` where one is given."""
        running = self.running(service)
        return len(running) == count and all(image in (None, task.image) for task in running)

    def migrated(self):
        return any(task.state == "Complete" for task in self.tasks("migrate"))

    def update_state(self, service):
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        return self.manager.docker("service", "inspect", "--format", state, f"{STACK}_{service}")

    def scale(self, service, count):
        self.manager.docker("service", "scale", "--detach", f"{STACK}_{service}={count}")

    def containers(self, node, service):
        """What that node's engine itself says."""
        return node.docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={STACK}_{service}").split()

    def unprotected(self, node):
        """Containers of that node that lack a limit, or have more privileges than stack.yaml gives them."""
        for container in json.loads(node.docker("inspect", *node.docker("ps", "--quiet").split())):
            service = container["Config"]["Labels"].get("com.docker.swarm.service.name", container["Name"])
            host, user = container["HostConfig"], container["Config"]["User"]
            if not host["ReadonlyRootfs"]:
                yield f"{service} may write to its root file system"
            if host["CapDrop"] not in (["ALL"], ["CAP_ALL"]) or host["CapAdd"]:
                yield f"{service} has capabilities: not {host['CapDrop']}, but {host['CapAdd']}"
            if user.partition(":")[0] in ("", "0", "root"):
                yield f"{service} runs as root"
            for limit in ("Memory", "NanoCpus", "PidsLimit"):
                if not host[limit]:
                    yield f"{service} has no limit: {limit}"

    def placement(self):
        """The services' tasks by node, in words."""
        found = collections.defaultdict(list)
        for service in ("api", "nginx", "postgres", "redis"):
            for task in self.running(service):
                found[task.node].append(service)
        return {node: " ".join(sorted(services)) for node, services in sorted(found.items())}

    def describe(self):
        """The stack as it is, for a run that failed."""
        for service in ("postgres", "redis", "migrate", "api", "nginx"):
            for task in self.tasks(service):
                yield f"{task.name} on {task.node}: {task.state}, to be {task.desired} {task.error}".strip()

    def proxy_log(self, node, since):
        """The access log of that node's nginx, from a time in seconds since 1970, as text."""
        lines = []
        for container in self.containers(node, "nginx"):
            lines += node.docker("logs", "--since", f"{since:.3f}", container, limit=20).splitlines()
        return lines


def make_secrets(root, folder):
    """The passwords as files, of which the stack makes Swarm's secrets."""
    run(str(root / "deploy/kubernetes/make-secrets.sh"), str(folder), limit=20)
    return folder
