#!/bin/sh
# The database's roles, once. A file of its own, because the image sources what it cannot execute, as in Swarm's mounts.
sh /make-roles.sh
