#!/usr/bin/env bash
# Compares one replica with three of the same size, as the notes did, on this machine.
#
#   cargo build --release -p api -p lab -p loadgen && load-tests/scale-out.sh
#
# As in the notes, which scaled before they cached: phase 2, every read goes to Postgres. Two stacks run side by side, one with one replica and one with three, each replica with the same CPU quota; only one of
# them is measured at a time. Results: load-tests/results/scale-out/*.json and the table load-tests/results/scale-out.md.
set -euo pipefail
export LC_ALL=C

cpus=${CPUS:-0.1} repeat=${REPEAT:-5} seconds=${SECONDS_EACH:-30}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
load=target/release/load lab=target/release/lab
results="load-tests/results/scale-out"
state=$(mktemp -d)

fail() { printf 'scale-out: %s\n' "$*" >&2; exit 2; }
for program in "$load" "$lab" target/release/api; do
  [ -x "$program" ] || fail "$program is missing: cargo build --release -p api -p lab -p loadgen"
done

finish() {
  for replicas in 1 3; do "$lab" --state-dir "$state/$replicas" down >/dev/null 2>&1 || true; done
  rm -rf "$state"
}
trap finish EXIT

declare -A url
for replicas in 1 3; do
  "$lab" --state-dir "$state/$replicas" up --detach --phase 2 --replicas "$replicas" --cpus "$cpus" --port 0 >"$state/up.log" 2>&1 ||
    fail "the stack does not start: $(tail -n 5 "$state/up.log")"
  url[$replicas]=$("$lab" --state-dir "$state/$replicas" status --json | sed -n 's/.*"base_url": "\([^"]*\)".*/\1/p')
  # The comparison excludes cold starts: first connections, first reads, the record in the cache.
  "$load" run "${url[$replicas]}/data/1" --requests 500 >/dev/null
done

# CPU time the replicas used so far, in hundredths of a second.
cpu_ticks() {
  "$lab" --state-dir "$state/$1" status --json | grep -A4 '"name": "api-' | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' |
    while read -r pid; do awk '{ print $14 + $15 }' "/proc/$pid/stat"; done | awk '{ sum += $1 } END { print sum }'
}

# Runs a workload against both stacks: name, then the options of `load run`. Exit code 2 marks a run as invalid, which the
# comparison repeats.
declare -A cpu
measure() {
  local name=$1 replicas before
  shift
  for replicas in 1 3; do
    echo "$name, $replicas replica(s)"
    before=$(cpu_ticks "$replicas")
    "$load" run "${url[$replicas]}" "$@" --json "$results/$name-$replicas.json" >"$state/run.log" || [ $? -eq 2 ] || fail "$(cat "$state/run.log")"
    cpu[$name-$replicas]=$(($(cpu_ticks "$replicas") - before))
  done
}

# A line of the table from a line of `load compare`: the load of the one replica, that of the three, what the line is
# called there, and the label here. Forced, because one row of the table compares different loads on purpose.
row() {
  "$load" compare --force "$results/$1-1.json" "$results/$2-3.json" | awk -v what="$3" -v label="$4" '
    index($0, what) == 1 { $0 = substr($0, length(what) + 1); printf "| %s | %.2f | %.2f | %.2f |\n", label, $1, $5, $9 }'
}

# CPU time of the replicas per request, in microseconds. The warm-up before each run, which is in the CPU time and not in
# the counts, is taken to be like the rest.
cpu_per_request() {
  sed 's/.*"repeats"//' "$results/$1-$2.json" | grep -o '"answered":[0-9]*' | cut -d: -f2 |
    awk -v ticks="${cpu[$1-$2]}" -v share="$(awk "BEGIN { print $seconds / ($seconds + 2) }")" \
      '{ sum += $1 } END { printf "%.0f", ticks * 1e4 * share / sum }'
}

mkdir -p "$results"
measure notes --workload load-tests/notes-100x10.toml --repeat 25
for connections in 10 30; do
  measure "$connections" --workload load-tests/notes-30s.toml --duration "${seconds}s" --connections "$connections" --repeat "$repeat"
done

{
  echo "# 1 replica against 3"
  echo
  echo "Made by \`load-tests/scale-out.sh\` on $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r | cut -d- -f1);"
  echo "the real stack of the process driver (\`lab up --phase 2 --replicas N --cpus $cpus\`): each replica may use $cpus of a core;"
  echo "nginx, Postgres and the generator share the rest. \`GET /data/1\`, not cached, as when the notes scaled. Medians of the runs."
  echo
  echo "| requests per second | 1 replica | 3 replicas | ratio |"
  echo "| --- | ---: | ---: | ---: |"
  echo "| the notes: 100 requests, 10 connections | 1337.42 | 2179.60 | 1.63 |"
  row notes notes "Requests per second" "100 requests, 10 connections (25 runs)"
  row 10 10 "Requests per second" "$seconds s, 10 connections ($repeat runs)"
  row 30 30 "Requests per second" "$seconds s, 30 connections ($repeat runs)"
  row 10 30 "Requests per second" "$seconds s, 10 connections for each replica ($repeat runs)"
  echo
  echo "| mean time per request [ms] | 1 replica | 3 replicas | ratio |"
  echo "| --- | ---: | ---: | ---: |"
  echo "| the notes: 100 requests, 10 connections | 7.477 | 4.588 | 0.61 |"
  row notes notes "Mean [ms]" "100 requests, 10 connections (25 runs)"
  row 10 10 "Mean [ms]" "$seconds s, 10 connections ($repeat runs)"
  row 30 30 "Mean [ms]" "$seconds s, 30 connections ($repeat runs)"
  row 10 30 "Mean [ms]" "$seconds s, 10 connections for each replica ($repeat runs)"
  echo
  echo "| CPU time of the replicas | of what the quota allows | per request [µs] |"
  echo "| --- | ---: | ---: |"
  for connections in 10 30; do
    for replicas in 1 3; do
      used=$(awk "BEGIN { printf \"%.0f\", ${cpu[$connections-$replicas]} / ($cpus * $replicas * ($seconds + 2) * $repeat) }")
      echo "| $connections connections, $replicas replica(s) | $used % | $(cpu_per_request "$connections" "$replicas") |"
    done
  done
  echo
  echo "The quota bounds both sides, so the comparison is one of equal CPU time. 100 requests are over within one or two of the"
  echo "100 ms over which the kernel counts a quota: the first row is a hint, the runs of $seconds s are the measurement. nginx"
  echo "neither retries nor ejects with a single replica."
  for name in notes 10 30; do
    printf '\n`load compare --force scale-out/%s-1.json scale-out/%s-3.json`\n\n```\n' "$name" "$name"
    "$load" compare --force "$results/$name-1.json" "$results/$name-3.json"
    echo '```'
  done
} >"$state/table.md"
mv "$state/table.md" "$results.md"
cat "$results.md"
