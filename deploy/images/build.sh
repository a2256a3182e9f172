#!/usr/bin/env bash
# Builds the images that docker-compose.yml names, from Debian's packages, for machines that cannot pull from a registry.
# Finished images are kept: an image is built again when its folder here, or what it is built from, has changed.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

usage() {
    cat <<USAGE
usage: deploy/images/build.sh [--fresh] [NAME…]

Builds phase-observation/NAME for each of: ${all[*]} (default: all).

  --fresh   build again even what is up to date, with the current packages

Needs a Docker engine, the Debian mirror of this machine's apt sources (or DEBIAN_MIRROR), and mmdebstrap, which is
installed when it is missing. The api image holds the binary built here by cargo.
USAGE
}

all=(postgres redis nginx prometheus api)
declare -A tags=([debian]=testing [postgres]=18 [redis]=8 [nginx]=1.30 [prometheus]=3.5 [runtime]=testing [api-base]=dev [api]=dev)
# The API's image in megabytes, base included.
api_limit_mb=100

fresh=false
names=()
for argument in "$@"; do
    case $argument in
    --fresh) fresh=true ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        [ -n "${tags[$argument]:-}" ] || {
            usage >&2
            exit 2
        }
        names+=("$argument")
        ;;
    esac
done
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")

say() { printf '%3d s  %s\n' "$SECONDS" "$*"; }
fail() {
    printf 'images: %s\n' "$@" >&2
    exit 1
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Runs a noisy command; its output is only shown when it fails.
quietly() {
    local what=$1
    shift
    "$@" >"$scratch/last" 2>&1 || {
        tail -n 40 "$scratch/last" >&2
        fail "$what failed; the last lines are above"
    }
}

image() { echo "phase-observation/$1:${tags[$1]}"; }

size_mb() { echo $(($(docker image inspect --format '{{.Size}}' "$1") / 1000000)); }

# A label of each image contains the hash of its inputs.
up_to_date() {
    [ "$fresh" = false ] && [ "$(docker image inspect --format '{{index .Config.Labels "inputs"}}' "$1" 2>/dev/null)" = "$2" ]
}

report() {
    say "$(printf '%-11s %s (%d MB, %s)' "$1" "$(image "$1")" "$(size_mb "$(image "$1")")" "$2")"
}

# The HTTP proxy for packages, if this machine has one.
build_arguments=()
for variable in http_proxy https_proxy no_proxy; do
    if [ -n "${!variable:-}" ]; then build_arguments+=(--build-arg "$variable"); fi
done

install_mmdebstrap() {
    command -v mmdebstrap >/dev/null && return
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "mmdebstrap is missing: install the package mmdebstrap"
        as_root=(sudo)
    fi
    command -v apt-get >/dev/null || fail "mmdebstrap is missing: install the package mmdebstrap"
    say "installing the package mmdebstrap"
    "${as_root[@]}" apt-get -qq install -y --no-install-recommends mmdebstrap >"$scratch/last" 2>&1 ||
        { "${as_root[@]}" apt-get -qq update && "${as_root[@]}" apt-get -qq install -y --no-install-recommends mmdebstrap; } \
            >>"$scratch/last" 2>&1 || {
        tail -n 20 "$scratch/last" >&2
        fail "could not install mmdebstrap"
    }
}

bootstrap() {
    # Documentation and translations are left out, here and in every image built on top. A mirror may be a snapshot, whose
    # index looks expired.
    mmdebstrap --variant=apt \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' \
        --aptopt='Dir::Cache::pkgcache ""' --aptopt='Dir::Cache::srcpkgcache ""' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        testing "$scratch/rootfs.tar" "$1"
}

build_debian() {
    local mirror inputs name
    name=$(image debian)
    mirror=$(../debian-mirror.sh)
    inputs=$(declare -f bootstrap | cat - <(echo "$mirror") | sha256sum | cut -c1-16)
    if up_to_date "$name" "$inputs"; then
        report debian kept
    else
        install_mmdebstrap
        say "debian      bootstrapping Debian testing from $mirror"
        quietly "bootstrapping Debian" bootstrap "$mirror"
        quietly "importing Debian" docker import --change "LABEL inputs=$inputs" "$scratch/rootfs.tar" "$name"
        rm "$scratch/rootfs.tar"
        report debian built
    fi
}

# NAME BASE CONTEXT [docker build's arguments…]. The Dockerfiles take their base as the argument BASE; what is hashed is
# its id, so that a new base means a new image.
build_if_changed() {
    local name=$1 base=$2 context=$3 inputs
    shift 3
    inputs=$({
        echo "$@"
        docker image inspect --format '{{.Id}}' "$base"
        cd "$context"
        find . -type f -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-16)
    if up_to_date "$(image "$name")" "$inputs"; then
        report "$name" kept
    else
        local no_cache=() old
        [ "$fresh" = false ] || no_cache=(--no-cache)
        old=$(docker image inspect --format '{{.Id}}' "$(image "$name")" 2>/dev/null || true)
        # The build shares the host's network, so packages are downloaded like those of this machine.
        quietly "building $name" docker build --network host --force-rm "${no_cache[@]}" "${build_arguments[@]}" \
            --build-arg "BASE=$base" --label "inputs=$inputs" --tag "$(image "$name")" "$@" "$context"
        # Removes the replaced image, unless a container still uses it.
        [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
        report "$name" built
    fi
}

# Only the program that cargo builds here is sent to the engine.
build_api() {
    build_if_changed runtime "$(image debian)" runtime
    say "api         cargo build --release -p api"
    (cd "$root" && cargo build --quiet --release --locked -p api)
    mkdir "$scratch/base" "$scratch/api"
    cp "$root/deploy/Dockerfile" "$scratch/base"
    build_if_changed api-base "$(image runtime)" "$scratch/base" --target base
    cp "$root/target/release/api" api/Dockerfile "$scratch/api"
    build_if_changed api "$(image api-base)" "$scratch/api"
    [ "$(size_mb "$(image api)")" -le "$api_limit_mb" ] ||
        fail "the api image has $(size_mb "$(image api)") MB, more than $api_limit_mb MB"
    quietly "running the api image" docker run --rm --network none "$(image api)" --version
}

../ensure-docker.sh
build_debian
for name in "${names[@]}"; do
    case $name in
    debian) ;;
    api) build_api ;;
    *) build_if_changed "$name" "$(image debian)" "$name" ;;
    esac
done
say "to use them: docker compose --env-file deploy/images/offline.env up --scale api=3"
