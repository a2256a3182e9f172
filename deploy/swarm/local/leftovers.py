"""Removes what a run has created, this one or one that crashed: processes, namespaces, cgroups, files."""

import os
import pathlib
import shutil
import signal

from names import CGROUP, NAMESPACES, PREFIX, STATE
from node import start_time
from process import Failed, run
from waiting import until


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def recorded():
    """The engines that are still running, by their records. A number that another process has got since is none of ours."""
    for record in STATE.glob("node-*/pid"):
        words = record.read_text().split()
        if len(words) == 2 and start_time(words[0]) == words[1]:
            yield int(words[0])


def inside(namespace):
    """Processes in one of our network namespaces. The caller itself may be in one."""
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split() if int(pid) != os.getpid()]


def cgroups():
    """Version 1 has a hierarchy for each controller, version 2 one for all."""
    root = pathlib.Path("/sys/fs/cgroup")
    return [found for found in (root / CGROUP, *root.glob(f"*/{CGROUP}")) if found.is_dir()]


def remove_cgroups():
    """Whether all are gone. One whose last process is just ending is busy for a moment."""
    for top in cgroups():
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
    return not cgroups()


def remove():
    """Removes everything, and returns what there was, in words."""
    found = []
    namespaces = [path.name for path in sorted(NAMESPACES.glob(PREFIX + "*"))]
    processes = set(recorded())
    for namespace in namespaces:
        try:
            processes.update(inside(namespace))
        except Failed:
            pass  # A name without a namespace behind it, after a crash between the two steps of making one.
    for pid in processes:
        # Also one that is stopped.
        kill(pid)
    if processes:
        found.append(f"{len(processes)} processes")
        until("the engines' processes end", lambda: not any(map(alive, processes)), 15)
    for namespace in namespaces:
        run("ip", "netns", "delete", namespace)
    if namespaces:
        found.append(f"{len(namespaces)} network namespaces")
    if cgroups():
        found.append("control groups")
        until("the control groups can be removed", remove_cgroups, 15)
    if STATE.exists():
        found.append(str(STATE))
        while os.path.ismount(STATE):
            run("umount", str(STATE))
        shutil.rmtree(STATE)
    return found


def alive(pid):
    """Not gone, and not a zombie, which only its parent can remove."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
