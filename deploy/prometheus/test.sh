#!/usr/bin/env bash
# Checks configuration, rules and alerts with promtool: they are valid, each alert fires when it should and
# stays silent when it should, each has a runbook page, and the generated rules are fresh. A few seconds.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    printf 'prometheus: %s\n' "$@" >&2
    exit 1
}

# The package must not start its service: a policy forbids it, unless the machine has its own policy.
install_promtool() {
    local as_root=() policy=/usr/sbin/policy-rc.d log
    command -v apt-get >/dev/null || fail "promtool is missing: install Prometheus (dnf install prometheus, pacman -S prometheus, brew install prometheus)"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "promtool is missing: sudo apt-get install --no-install-recommends prometheus"
        as_root=(sudo -n)
    fi
    echo "prometheus: installing the package prometheus with apt-get, not starting it"
    log=$(mktemp)
    "${as_root[@]}" sh -c '
        policy=$1
        if [ ! -e "$policy" ]; then
            trap "rm -f $policy" EXIT
            printf "#!/bin/sh\nkill -0 %s 2>/dev/null && exit 101\nexit 0\n" $$ >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        install() { apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends prometheus; }
        install || { apt-get update && install; }' sh "$policy" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "the package could not be installed"
    }
    rm -f "$log"
}

command -v promtool >/dev/null || install_promtool

quietly() {
    local said
    said=$("$@" 2>&1) || {
        echo "$said" >&2
        fail "failed: $*"
    }
}

diff -u rules/slo.yml <(./slo-rules.sh) || fail "rules/slo.yml is stale: deploy/prometheus/slo-rules.sh >deploy/prometheus/rules/slo.yml"
quietly promtool check config prometheus.yml
quietly promtool check rules rules/*.yml
# A compressed day, and one whose windows are longer than real ones.
for day in 24m 6m 90s 48h; do
    ./slo-rules.sh --day "$day" --availability 0.95 | quietly promtool check rules /dev/stdin
done
for bad in '--day 0m' '--day 24' '--day 1d' '--availability 99.9' '--latency x' '--nonsense'; do
    # shellcheck disable=SC2086  # two words
    ! ./slo-rules.sh $bad >/dev/null 2>&1 || fail "slo-rules.sh accepts $bad"
done

alerts=$(sed -n 's/^ *- alert: //p' rules/*.yml)
for alert in $alerts; do
    [ -s "../../docs/runbooks/$alert.md" ] || fail "docs/runbooks/$alert.md is missing"
    grep -q "runbook: docs/runbooks/$alert.md" rules/*.yml || fail "$alert does not name its runbook"
    grep -q "name: '$alert fires:" tests/*.yml || fail "no test has $alert fire"
    grep -q "name: '$alert is silent:" tests/*.yml || fail "no test has $alert stay silent"
done
for page in ../../docs/runbooks/*.md; do
    page=$(basename "$page" .md)
    grep -qx "$page" <<<"$alerts" || [ "$page" = README ] || fail "docs/runbooks/$page.md is of no alert"
done
(cd tests && quietly promtool test rules ./*.yml)
echo "prometheus: $(wc -w <<<"$alerts") alerts, $(grep -c '^  - name:' tests/*.yml | awk -F: '{ n += $2 } END { print n }') cases, all as they should"
