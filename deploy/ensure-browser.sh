#!/usr/bin/env bash
# Makes sure that `chromium` and `chromedriver` are there for the tests in a real browser. Installs them from the
# distribution where that needs no question, and says precisely what to install where it is not possible.
set -euo pipefail

has() { command -v "$1" >/dev/null; }
say() { printf 'ensure-browser: %s\n' "$@" >&2; }

missing() { ! has chromium || ! has chromedriver; }

missing || exit 0

if ! has apt-get; then
    say 'the tests in a browser need `chromium` and `chromedriver` in the PATH.' \
        'Install them: dnf install chromium chromedriver, or apk add chromium chromium-chromedriver.'
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    as_root=(env)
elif has sudo && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    say 'the tests in a browser need `chromium` and `chromedriver`, and installing them needs root.' \
        'Run: sudo apt-get install --no-install-recommends chromium chromium-driver'
    exit 1
fi

apt() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q "$@" >&2; }
# The fonts are what pages are drawn with where a machine has none.
packages=(chromium chromium-driver fonts-dejavu-core)
say "installing ${packages[*]}"
apt install -y --no-install-recommends "${packages[@]}" || { apt update && apt install -y --no-install-recommends "${packages[@]}"; }

if missing; then
    say "apt-get installed ${packages[*]}, but \`chromium\` or \`chromedriver\` is still not in the PATH."
    exit 1
fi
