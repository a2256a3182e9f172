#!/usr/bin/env bash
# Makes sure that programs which only tests need are there. Installs them from the distribution where that needs no question,
# and says precisely what to install where it is not possible.
#
#   deploy/ensure-programs.sh browser | valgrind
set -euo pipefail

case ${1:-} in
browser)
    purpose='the tests in a browser need' programs=(chromium chromedriver)
    # The fonts are what pages are drawn with where a machine has none.
    packages=(chromium chromium-driver fonts-dejavu-core) elsewhere='dnf install chromium chromedriver, or apk add chromium chromium-chromedriver'
    ;;
valgrind)
    # callgrind_control is a Perl program.
    purpose='counting instructions needs' programs=(valgrind callgrind_control perl)
    packages=(valgrind perl) elsewhere='dnf install valgrind perl, or apk add valgrind perl'
    ;;
*)
    echo 'usage: deploy/ensure-programs.sh browser | valgrind' >&2
    exit 2
    ;;
esac

say() { printf 'ensure-programs: %s\n' "$@" >&2; }

missing() {
    local program
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || return 0
    done
    return 1
}

missing || exit 0

if ! command -v apt-get >/dev/null; then
    say "$purpose ${programs[*]} in the PATH. Install them: $elsewhere."
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    say "$purpose ${programs[*]}, and installing them needs root." \
        "Run: sudo apt-get install --no-install-recommends ${packages[*]}"
    exit 1
fi

apt() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q "$@" >&2; }
say "installing ${packages[*]}"
apt install -y --no-install-recommends "${packages[@]}" || { apt update && apt install -y --no-install-recommends "${packages[@]}"; }

if missing; then
    say "apt-get installed ${packages[*]}, but not all of ${programs[*]} are in the PATH."
    exit 1
fi
