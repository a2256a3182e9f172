#!/usr/bin/env bash
# Prints the Debian mirror this machine itself uses, so that no mirror is written into the project.
# DEBIAN_MIRROR overrides it, for machines that are not Debian.
set -euo pipefail

mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
    # One line per package index. The origin is only known once `apt-get update` has run, hence the second look.
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk '!found && $2 == "Debian" { print $1; found = 1 }')
    if [ -z "$mirror" ] && [ "$(. /etc/os-release && echo "${ID:-}")" = debian ]; then
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
            awk '!found && /\/debian\/*$/ { print; found = 1 }')
    fi
fi
if [ -z "$mirror" ]; then
    echo "No Debian mirror found in this machine's apt sources. Name one: DEBIAN_MIRROR=http://…/debian" >&2
    exit 1
fi
echo "${mirror%/}"
