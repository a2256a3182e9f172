#!/usr/bin/env bash
# Ensures that a Docker engine answers and that `docker compose` is version 2. Installs what is missing if that is possible
# without other changes to the machine, and otherwise says what to do.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    printf 'ensure-docker: %s\n' "$@" >&2
    exit 1
}

say() { printf 'ensure-docker: %s\n' "$*"; }

engine_answers() { docker info >/dev/null 2>&1; }

# Unpacks packages of Debian testing into $2 without installing them, using a separate apt state.
unpack_from_testing() {
    local package=$1 into=$2 mirror private
    mirror=$(./debian-mirror.sh)
    private=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is wanted as it is now
    trap "rm -rf '$private'" RETURN
    mkdir -p "$private"/{lists,cache}/partial
    chmod -R go+rx "$private"
    printf 'deb [signed-by=%s] %s testing main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" \
        >"$private/sources.list"
    local options=(
        -o "Dir::Etc::SourceList=$private/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o "Dir::State::Lists=$private/lists" -o "Dir::Cache=$private/cache"
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User= -o APT::Update::Post-Invoke-Success=
    )
    apt-get "${options[@]}" -qq update
    (cd "$private" && apt-get "${options[@]}" -qq download "$package")
    dpkg-deb --extract "$private/$package"_*.deb "$into"
}

install_compose() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail \
        "'docker compose' (version 2) is missing." \
        "Install Docker's package docker-compose-plugin, or put the plugin into ~/.docker/cli-plugins/."
    local plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins unpacked
    say "'docker compose' is missing; taking it from Debian's package docker-compose into $plugins"
    unpacked=$(mktemp -d)
    unpack_from_testing docker-compose "$unpacked" ||
        fail "could not fetch the package; install docker-compose-plugin by hand"
    mkdir -p "$plugins"
    install -m 755 "$unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$plugins/docker-compose"
    rm -rf "$unpacked"
}

start_engine() {
    local why
    why=$(docker info 2>&1 | tail -n 1) || true
    if [ -n "${DOCKER_HOST:-}" ]; then
        fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer: $why"
    elif ! command -v dockerd >/dev/null; then
        fail "no Docker engine answers, and there is no dockerd to start: $why" \
            "On Debian or Ubuntu: apt-get install --no-install-recommends docker.io"
    elif [ "$(id -u)" != 0 ]; then
        fail "the Docker engine does not answer: $why" \
            "Start it (systemctl start docker), or join its group (usermod -aG docker $(id -un)) and log in again."
    elif [ -d /run/systemd/system ]; then
        say "starting the Docker engine by systemctl"
        systemctl start docker
    else
        say "starting dockerd (its log: /var/log/dockerd.log)"
        setsid dockerd >>/var/log/dockerd.log 2>&1 </dev/null &
    fi
    for _ in $(seq 60); do
        engine_answers && return
        sleep 0.5
    done
    fail "the Docker engine did not answer within 30 s: $(docker info 2>&1 | tail -n 1 || true)"
}

command -v docker >/dev/null || fail "there is no docker command." \
    "On Debian or Ubuntu: apt-get install --no-install-recommends docker.io"
engine_answers || start_engine
docker compose version >/dev/null 2>&1 || install_compose
docker compose version >/dev/null || fail "the installed compose plugin does not run"
say "engine $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
