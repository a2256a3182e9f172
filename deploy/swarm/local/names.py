"""What a run creates on this machine, by name. Whatever has one of these names belongs to a run, and is removed after a crash.

Everything else is inside these namespaces: no address, bridge, rule or port of the machine itself is used.
"""

import pathlib

# The engines' images and volumes, the passwords, the results of the load generators.
STATE = pathlib.Path("/var/lib/phase-swarm")
LOCK = pathlib.Path("/run/phase-swarm.lock")
NAMESPACES = pathlib.Path("/run/netns")
PREFIX = "phase-swarm-"
# The network between the nodes, and the clients.
LAN = PREFIX + "lan"
# In each hierarchy of /sys/fs/cgroup.
CGROUP = "phase-swarm"
