"""Whether this machine can do it, and what a run does to its own process: one at a time, in the network of the clients."""

import ctypes
import fcntl
import os
import re
import shutil

from names import LOCK, NAMESPACES
from process import Failed, run

PROGRAMS = ("docker", "dockerd", "docker-init", "ip", "mount", "nsenter", "unshare")
# What three nodes and the stack take, with room: most of it are the images, once for each node.
MEMORY_MB = 3000


def check():
    if os.geteuid() != 0:
        raise Failed("it makes network namespaces and starts Docker engines, which needs root")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        raise Failed(f"not installed: {', '.join(absent)} (on Debian: apt-get install --no-install-recommends docker.io iproute2)")
    memory = available_mb()
    if memory < MEMORY_MB:
        raise Failed(f"{memory} MB of memory are available, and {MEMORY_MB} are needed: the engines' data are in memory")


def available_mb():
    with open("/proc/meminfo", encoding="utf-8") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable"))


def engine_version():
    """The version of this machine's engine, whose program the nodes run too."""
    version, api = run("docker", "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}").split()
    if tuple(map(int, re.findall(r"\d+", api))) < (1, 41):
        raise Failed(f"the Docker engine is {version}; jobs and limits of processes in a Swarm need 20.10")
    return version


def lock():
    """Holds the lock until the process ends. The programs that it starts do not inherit it."""
    file = open(LOCK, "w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failed("another run is under way on this machine") from None
    return file


def enter(namespace):
    """From here on this process and those it starts are in that network."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newnet = 0x40000000
    with open(NAMESPACES / namespace, encoding="utf-8") as file:
        if libc.setns(file.fileno(), clone_newnet) != 0:
            raise Failed(f"setns: {os.strerror(ctypes.get_errno())}")
