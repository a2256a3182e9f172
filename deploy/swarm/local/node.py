"""One machine of the cluster: a network namespace, a cable to the others, and an engine with its own processes and data."""

import json
import os
import signal
import subprocess
import time

from names import CGROUP, LAN, NAMESPACES, PREFIX, STATE
from process import Failed, run
from waiting import until

# In the engine's own mount, host name, IPC and process namespaces. Without name servers: those of the machine cannot be reached
# from here, and the engine would ask them. docker-init takes in orphans, because the engine would be the first process.
BOOT = """
set -e
hostname "$1"
mount -t tmpfs tmpfs /run
servers=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$servers")"
[ -e "$servers" ] || : >"$servers"
: >"$2/resolv.conf"
mount --bind "$2/resolv.conf" "$servers"
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
exec docker-init -- dockerd --config-file "$2/daemon.json" --data-root "$2/data" --exec-root /run/docker \
    --pidfile /run/docker.pid --host "unix://$2/docker.sock"
"""


def lay_network():
    """The bridge to which the nodes are connected, in a namespace of its own. The clients are there too."""
    run("ip", "netns", "add", LAN)
    for line in ("link add lan type bridge", "address add 10.77.0.1/24 dev lan", "link set lan up", "link set lo up"):
        run("ip", "-n", LAN, *line.split())


def start_time(pid):
    """The kernel's start time of a process, which tells it from a later one with the same number. None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return None


class Node:
    def __init__(self, number):
        self.number = number
        self.name = f"node-{number}"
        self.address = f"10.77.0.1{number}"
        self.namespace = f"{PREFIX}{number}"
        self.cable = f"node-{number}"
        self.folder = STATE / self.name
        self.engine = None

    def docker(self, *arguments, limit=20.0, text=None, env=None):
        """Calls this node's engine."""
        return run("docker", "--host", f"unix://{self.folder}/docker.sock", *arguments, limit=limit, text=text, env=env)

    def start(self):
        """Switches the node on, with the data that it had. `until_up` waits for it."""
        run("ip", "netns", "add", self.namespace)
        # A fixed address of the card: the others remember a changed one for seconds.
        card = f"link add {self.cable} type veth peer name eth0 address 02:42:0a:4d:00:1{self.number} netns {self.namespace}"
        run("ip", "-n", LAN, *card.split())
        run("ip", "-n", LAN, *f"link set {self.cable} master lan up".split())
        run("ip", "-n", self.namespace, *f"address add {self.address}/24 dev eth0".split())
        run("ip", "-n", self.namespace, *"link set eth0 up".split())

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {
            "cgroup-parent": f"/{CGROUP}/{self.name}",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "storage-driver": "overlay2",
            # Swarm ignores a service's `security_opt`.
            "no-new-privileges": True,
            "bridge": "none",
        }
        (self.folder / "daemon.json").write_text(json.dumps(options))
        command = ["nsenter", f"--net={NAMESPACES / self.namespace}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        command += ["--kill-child", "--mount-proc", "sh", "-c", BOOT, "boot", self.name, str(self.folder)]
        with open(self.folder / "log", "ab") as log:
            self.engine = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # The images are here already: no registry is asked.
                env=os.environ | {"DOCKER_SERVICE_PREFER_OFFLINE_IMAGE": "1"},
            )
        (self.folder / "pid").write_text(f"{self.engine.pid} {start_time(self.engine.pid)}\n")

    def until_up(self, limit=40.0):
        def answers():
            if self.engine.poll() is not None:
                tail = (self.folder / "log").read_text(errors="replace").splitlines()[-3:]
                raise Failed(f"the engine of {self.name} ended: {' / '.join(tail)}")
            try:
                return self.docker("version", "--format", "{{.Server.Version}}", limit=5)
            except Failed:
                return None

        return until(f"the engine of {self.name} answers", answers, limit)

    def connect(self, connected):
        """Plugs the cable in, or out. Nothing else changes on either side."""
        run("ip", "-n", LAN, "link", "set", self.cable, "up" if connected else "down")

    def cut_power(self):
        """The node is gone at once: no process of it ends in an orderly way, and the others get no packet about it."""
        self.connect(False)
        os.kill(self.engine.pid, signal.SIGKILL)
        self.engine.wait(10)
        until(f"{self.name} has no process left", lambda: not run("ip", "netns", "pids", self.namespace), 10)
        # The namespace itself stays until its last half-closed connection has timed out, so the cable is taken out by hand.
        run("ip", "-n", LAN, "link", "delete", self.cable)
        run("ip", "netns", "delete", self.namespace)

    def restore_power(self):
        before = time.monotonic()
        self.start()
        self.until_up()
        return time.monotonic() - before
