"""The demonstration: what is done to the cluster, what has to hold, and how long it takes."""

import time

from images import NEXT, UNHEALTHY
from traffic import Traffic, instances
from verdict import judge
from waiting import until

# Failed reads while a node is lost or cut off: requests that were inside it at that moment.
LOST_REQUESTS = 2


class Steps:
    """One method for each step. `note` records a figure for the report, `check` a condition that must hold."""

    def __init__(self, cluster, load, record):
        self.cluster = cluster
        self.load = load
        self.record = record
        self.manager, *self.workers = cluster.nodes

    def served(self, nodes, count, limit):
        """Waits until each of the nodes sends requests to `count` replicas, and no request fails."""
        for node in nodes:
            until(f"{count} replicas answer by {node.name}", lambda node=node: instances(node, count), limit)

    def settled(self, count=3, image=None, limit=30):
        """Waits until exactly `count` replicas run."""
        until(f"{count} replicas run", lambda: self.cluster.runs("api", count, image), limit)

    def choose(self):
        """The worker to lose, and the nodes that stay: the one with the most replicas, and of two the one with Redis."""
        running = {service: [task.node for task in self.cluster.running(service)] for service in ("api", "redis")}
        victim = max(self.workers, key=lambda node: (running["api"].count(node.name), running["redis"].count(node.name)))
        return victim, [node for node in self.cluster.nodes if node is not victim]

    # ---- Steps ----

    def answers(self):
        """A new stack: from the first command to the first answer of every replica by every node."""
        began = time.monotonic()
        self.cluster.deploy(self.cluster.images["API_IMAGE"])
        until("the schema is there", self.cluster.migrated, 60)
        self.settled(limit=60)
        self.served(self.cluster.nodes, 3, 40)
        self.record.measured("deploy: three replicas answer by each of three nodes", since(began))
        for node, services in self.cluster.placement().items():
            self.record.note(f"{node}: {services}")
        for node in self.cluster.nodes:
            for fault in self.cluster.unprotected(node):
                self.record.note(f"{node.name}: {fault}")
                self.record.failed.append(fault)

    def power_cut(self):
        """A worker is lost under load, and comes back."""
        victim, others = self.choose()
        lost = self.cluster.placement()[victim.name]
        traffic = Traffic(self.load, "power-cut", others)
        traffic.start()
        self.served(others, 3, 10)
        at = time.time()
        began = time.monotonic()
        victim.cut_power()
        self.record.note(f"{victim.name} has lost power, with {lost}")
        until("the manager misses the node", lambda: self.cluster.node_states()[victim.name] == "Down", 30)
        self.record.measured("power cut: the manager has noticed", since(began))
        self.settled()
        self.record.measured("power cut: the replacement is healthy", since(began))
        self.served(others, 3, 20)
        self.record.measured("power cut: three replicas answer again", since(began))
        traffic.stop()
        judge(self.cluster, self.record, "power cut", traffic, at, LOST_REQUESTS)

        took = victim.restore_power()
        self.record.measured("return: the engine answers", took)
        began = time.monotonic()
        until("the node is ready", lambda: self.cluster.node_states()[victim.name] == "Ready", 30)
        until("its nginx runs", lambda: len(self.cluster.running("nginx")) == 3, 30)
        self.served(self.cluster.nodes, 3, 30)
        self.record.measured("return: three replicas answer by the node again", took + since(began))

    def rolling_update(self):
        """Another version of the API, under load by every node."""
        before = {task.id for task in self.cluster.running("api")}
        traffic = Traffic(self.load, "update", self.cluster.nodes)
        traffic.start()
        self.served(self.cluster.nodes, 3, 10)
        at, began = time.time(), time.monotonic()
        self.cluster.deploy(NEXT)
        until("three replicas have the new version", lambda: self.cluster.runs("api", 3, NEXT), 60)
        self.record.measured("rolling update: three replicas of the new version", since(began))
        until("the update is over", lambda: self.cluster.update_state("api") == "completed", 60)
        self.record.measured("rolling update: completed, with the time it is watched", since(began))
        self.served(self.cluster.nodes, 3, 20)
        self.record.check("every replica was replaced", not before & {task.id for task in self.cluster.running("api")})
        traffic.stop()
        judge(self.cluster, self.record, "rolling update", traffic, at, 0)

    def rollback(self):
        """A version that is never healthy, under load by every node."""
        traffic = Traffic(self.load, "rollback", self.cluster.nodes)
        traffic.start()
        self.served(self.cluster.nodes, 3, 10)
        at, began = time.time(), time.monotonic()
        self.cluster.deploy(UNHEALTHY)
        until("Swarm goes back", lambda: self.cluster.update_state("api").startswith("rollback"), 60)
        self.record.measured("unhealthy version: Swarm begins to go back", since(began))
        until("it is back", lambda: self.cluster.update_state("api") == "rollback_completed", 60)
        self.settled(image=NEXT)
        self.record.measured("unhealthy version: rolled back", since(began))
        traffic.stop()
        judge(self.cluster, self.record, "unhealthy version", traffic, at, 0)

    def scaling(self):
        """More replicas and fewer, while one of them hangs for a moment."""
        traffic = Traffic(self.load, "scaling", self.cluster.nodes)
        traffic.start()
        self.served(self.cluster.nodes, 3, 10)
        at = time.time()
        node, hanging = next((node, found) for node in self.cluster.nodes for found in self.cluster.containers(node, "api"))
        node.docker("pause", hanging)
        for count in (6, 3):
            began = time.monotonic()
            self.cluster.scale("api", count)
            self.settled(count)
            if count == 6:
                node.docker("unpause", hanging)
            self.served(self.cluster.nodes, count, 20)
            self.record.measured(f"scale to {count}: as many answer by every node", since(began))
        traffic.stop()
        judge(self.cluster, self.record, "scale 3 → 6 → 3", traffic, at, 0)

    def partition(self):
        """A worker that works, but that nobody reaches."""
        victim, others = self.choose()
        traffic = Traffic(self.load, "partition", others)
        traffic.start()
        self.served(others, 3, 10)
        at, began = time.time(), time.monotonic()
        victim.connect(False)
        until("the manager misses the node", lambda: self.cluster.node_states()[victim.name] == "Down", 30)
        self.record.measured("partition: the manager has noticed", since(began))
        self.settled()
        self.served(others, 3, 20)
        self.record.measured("partition: three replicas answer on the manager's side", since(began))
        beyond = len(self.cluster.containers(victim, "api"))
        self.record.note(f"beyond the cut {victim.name} still runs {beyond} of its own")
        began = time.monotonic()
        victim.connect(True)
        until("the node is ready", lambda: self.cluster.node_states()[victim.name] == "Ready", 30)
        until("its surplus replicas end", lambda: not self.surplus(), 30)
        self.settled()
        self.served(self.cluster.nodes, 3, 30)
        self.record.measured("partition over: one set of three replicas, by every node", since(began))
        traffic.stop()
        judge(self.cluster, self.record, "partition", traffic, at, LOST_REQUESTS)

    def surplus(self):
        """Replicas that a node's engine runs and the manager does not count."""
        counted = len(self.cluster.running("api"))
        return sum(len(self.cluster.containers(node, "api")) for node in self.cluster.nodes) - counted


def since(began):
    return time.monotonic() - began
