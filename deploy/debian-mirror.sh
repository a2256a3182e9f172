#!/usr/bin/env bash
# Prints the Debian mirror that this machine uses, so that the project does not contain one.
# DEBIAN_MIRROR overrides it, for machines that are not Debian.
set -euo pipefail

# One line per package index of apt. Only an index has its origin, so there are none before `apt-get update`.
# shellcheck disable=SC2016  # the names are apt's, not the shell's
configured() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk '!found && $2 == "Debian" { print $1; found = 1 }'
}

mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
    mirror=$(configured)
    if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then
        apt-get -qq update >&2
        mirror=$(configured)
    fi
fi
if [ -z "$mirror" ]; then
    echo "no Debian mirror is known to apt here: run 'apt-get update' on Debian, elsewhere set" \
        "DEBIAN_MIRROR=http://…/debian" >&2
    exit 1
fi
echo "${mirror%/}"
