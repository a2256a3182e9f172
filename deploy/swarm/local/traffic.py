"""Requests to the cluster: single ones, and the load generators', with what became of each."""

import collections
import http.client
import json
import signal
import subprocess
import time

from names import STATE
from process import Failed

PORT = 8080
# Even arrivals to each node, requests per second. nginx allows one client 500.
RATE = 100
# Read at random, of the 1,000 that the migration creates: most reads find theirs in the cache, as with real users.
RECORDS = 200
SLOW_MS = 200
# Seconds of load before anything is counted: what is measured is a fault, and not a cold start.
WARMUP = 2
# `at` is in seconds since 1970: when the request was sent.
Failure = collections.namedtuple("Failure", "at node what")


def get(address, path, timeout=2.0):
    """Status and instance of one answer; None for both when there was none."""
    connection = http.client.HTTPConnection(address, PORT, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("X-Instance")
    except (OSError, http.client.HTTPException):
        return None, None
    finally:
        connection.close()


def instances(node, count):
    """The replicas that answer by that node's nginx, when they are `count` and every request succeeds; None otherwise."""
    seen = set()
    for number in range(count * 6):
        status, instance = get(node.address, f"/data/{1 + number}")
        if status != 200:
            return None
        seen.add(instance)
    return seen if len(seen) == count else None


class Traffic:
    """Reads of random records by way of each of the given nodes, until `stop`: a load generator for each."""

    def __init__(self, load, name, nodes):
        self.load = load
        self.nodes = nodes
        self.files = {node: STATE / f"{name}-{node.name}" for node in nodes}
        self.processes = {}

    def start(self):
        """Returns after the warm-up."""
        for node, file in self.files.items():
            command = [self.load, "run", f"http://{node.address}:{PORT}/data/{{id}}", "--ids", f"1..{RECORDS}", "--duration", "10m"]
            command += [
                "--rate",
                str(RATE),
                "--timeout",
                "2s",
                "--warmup",
                f"{WARMUP}s",
                "--json",
                f"{file}.json",
                "--raw",
                f"{file}.ndjson",
            ]
            self.processes[node] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        time.sleep(WARMUP + 0.5)  # how long the load is to last, not a wait for something; `started` says whether it was enough

    def stop(self):
        """Ends them and reads their results."""
        self.requests = []
        self.failures = []
        self.codes = collections.Counter()
        self.started = 0.0
        self.late = 0
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for node, process in self.processes.items():
            try:
                _, said = process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Failed("the load generator did not end within 15 s") from None
            # 130: it was interrupted, as intended.
            if process.returncode != 130:
                raise Failed(f"the load generator ended with {process.returncode}: {said.strip()[-300:]}")
            self.read(node, self.files[node])
        self.failures.sort(key=lambda failure: failure.at)

    def read(self, node, file):
        with open(f"{file}.json", encoding="utf-8") as text:
            result = json.load(text)
        started = result["started_unix_ms"] / 1000
        self.late += result["summary"]["distorted"]
        # The API's own words for what it refused: "503 database_timeout".
        for found in result["statuses"]:
            if found["status"] >= 400:
                self.codes[f"{found['status']} {found['code'] or ''}".strip()] += found["count"]
        # Of all generators: from when on there was load by every node.
        self.started = max(self.started, started)
        with open(f"{file}.ndjson", encoding="utf-8") as lines:
            for request in map(json.loads, lines):
                self.requests.append((request["ended_ns"] - request["planned_ns"]) / 1e6)
                if not request["good"]:
                    what = f"status {request['status']}" if request.get("status") else str(request.get("error"))
                    self.failures.append(Failure(started + request["sent_ns"] / 1e9, node, what))

    def late_share(self):
        """The share of the requests that the generators sent so late that it shows in their latency: the machine was too busy."""
        return self.late / len(self.requests)

    def slow(self):
        return sum(duration > SLOW_MS for duration in self.requests)
