#!/usr/bin/env bash
# Counts the instructions that the API executes per request, under callgrind. Run it with `make instructions`.
#
# Counts are not times: they are the same on a busy machine. The system's own work (the kernel's, Redis', Postgres') is not in
# them. Each path runs with one thread against real servers: a warm-up, then N requests, then 2N; the difference of the two
# counts, divided by N, is without what the phases cost by themselves.
#
#   load-tests/instructions.sh           writes load-tests/results/instructions.md
#   load-tests/instructions.sh --check   fails (exit code 1) when a count is more than 5 % above the recorded one
#
# ROWS="cached near" measures some paths only, and then nothing is written. PROFILES=DIR keeps callgrind's files, for
# callgrind_annotate. RELEASE and TOOLS are the folders of the measured programs, and of `lab` and `load`.
set -euo pipefail
export LC_ALL=C

requests=1000 tolerance=5
cd "$(dirname "$0")/.."
release=${RELEASE:-target/release} tools=${TOOLS:-target/release}
recorded=load-tests/results/instructions.md
folder=$(mktemp -d)
server=

fail() { printf 'instructions: %s\n' "$*" >&2; exit 2; }
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ ! -d "$folder/stack" ] || "$tools/lab" --state-dir "$folder/stack" down --purge >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

check=no
case ${1:-} in
  '') ;;
  --check) check=yes ;;
  *) fail "unknown argument $1: there is only --check" ;;
esac
all='bare cached cached-log near uncached'
[ "$check" = no ] || all=${all#bare }
rows=${ROWS:-$all}
for program in "$release/api" "$tools/lab" "$tools/load"; do
  [ -x "$program" ] || fail "$program is missing: make instructions builds it"
done
command -v valgrind >/dev/null || fail "valgrind is missing: apt-get install valgrind"

# Postgres, Redis and the demo records. Its replica is not measured: it provides the environment of one.
"$tools/lab" --state-dir "$folder/stack" up --detach --port 0 --replicas 1 --api-bin "$release/api" >"$folder/up.log" 2>&1 ||
  fail "the stack does not start: $(tail -n 5 "$folder/up.log")"
"$tools/lab" --state-dir "$folder/stack" status --json >"$folder/status.json"
replica=$(grep -A4 '"name": "api-1"' "$folder/status.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
mapfile -d '' -t environment <"/proc/$replica/environ"

# A time-out would end a request of a program that runs fifty times slower. The timers are still set, only later.
generous=(REDIS_ATTEMPT_TIMEOUT=2s REDIS_TIMEOUT=4s DB_LOCK_TIMEOUT=1s DB_ACQUIRE_TIMEOUT=2s DB_STATEMENT_TIMEOUT=2s
  REQUEST_TIMEOUT=5s WRITE_WINDOW=6s PROBE_INTERVAL=1h)

# A port that nothing listens on.
port() {
  local port
  while port=$((20000 + RANDOM % 10000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# Starts a program under callgrind, and waits until it answers. Options of `env` and variables may precede the program.
start() {
  env "$@" >"$folder/server.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    "$tools/load" run "http://$address/data/1" --requests 1 >/dev/null 2>&1 && return
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  fail "$row: no answer: $(tail -n 5 "$folder/server.log")"
}

# Prints the instructions of so many requests. A phase counts only if the answers came from the path that is measured, 98 of 100
# at least: when the machine stalls, for example, the near cache is not used for a moment.
phase() {
  local give_up=$((SECONDS + 60))
  while [ "$SECONDS" -lt "$give_up" ]; do
    "$tools/load" run "$url" --ids 1..1000 --requests "$1" --connections "$connections" --timeout 20s "${must[@]}" \
      --json "$folder/sent.json" >"$folder/sent.txt" 2>&1 || true
    dump
    if grep -q '"success_ratio": *\(1\|0\.9[89]\)' "$folder/sent.json"; then
      awk '/^(summary|totals):/ { print $2; exit }' "$folder/profile"
      return
    fi
  done
  fail "invalid: $row: $(cat "$folder/sent.txt")"
}

control() {
  callgrind_control "--vgdb-prefix=$folder/vgdb" "$1" "$server" >"$folder/control.txt" 2>&1 ||
    fail "callgrind_control: $(cat "$folder/control.txt")"
}

# Writes the counts since the last time to $folder/profile, and starts again from zero.
dump() {
  rm -f "$folder"/callgrind.out.*
  control --dump
  cat "$folder"/callgrind.out.* >"$folder/profile" || fail "callgrind wrote no counts: $(cat "$folder/control.txt")"
}

declare -A counts
measure() { # URL's path, connections, how an answer of the measured path is recognised
  url="http://$address$1" connections=$2 must=()
  [ -z "${3:-}" ] || must=(--check "$3")
  # Not counted: connections, first reads, the growth of buffers.
  "$tools/load" run "$url" --ids 1..1000 --requests 1000 --connections "$connections" --timeout 20s >/dev/null 2>&1 || true
  control --instr=on
  local once twice
  once=$(phase "$requests")
  twice=$(phase $((2 * requests)))
  counts[$row]=$(((twice - once) / requests))
  printf '%-11s %6d instructions per request\n' "$row" "${counts[$row]}"
  if [ -n "${PROFILES:-}" ]; then
    mkdir -p "$PROFILES"
    cp "$folder/profile" "$PROFILES/$row.callgrind"
  fi
  kill "$server"
  wait "$server" 2>/dev/null || true
  server=
}

callgrind=(valgrind --quiet --tool=callgrind --instr-atstart=no --compress-strings=no "--vgdb-prefix=$folder/vgdb"
  "--callgrind-out-file=$folder/callgrind.out")
replica() { # variables
  start -i "${environment[@]}" "${generous[@]}" WORKER_THREADS=1 "LISTEN_ADDR=$address" "$@" "${callgrind[@]}" "$release/api" serve
}

for row in $rows; do
  address=127.0.0.1:$(port)
  case $row in
    bare)
      [ -x "$release/examples/bare" ] || fail "$release/examples/bare is missing: make instructions builds it"
      start "${callgrind[@]}" "$release/examples/bare" "$address"
      measure /data/1 32
      ;;
    cached)
      replica ACCESS_LOG=off
      measure /data/1 32 'header:cache-status=redis; hit'
      ;;
    cached-log)
      replica ACCESS_LOG=on
      measure /data/1 32 'header:cache-status=redis; hit'
      ;;
    near)
      replica ACCESS_LOG=off NEAR_CACHE=on
      measure /data/1 32 'header:cache-status=near; hit'
      ;;
    uncached)
      replica ACCESS_LOG=off CACHE=off
      measure '/data/{id}' 10 'header:cache-status=fwd=bypass'
      ;;
    *) fail "there is no row $row; there are bare, cached, cached-log, near, uncached" ;;
  esac
done

if [ "$check" = yes ]; then
  grown=0
  for row in $rows; do
    before=$(awk -F ' *[|] *' -v row="$row" '$2 == row { print $4 }' "$recorded")
    [ -n "$before" ] || fail "$recorded has no count of $row: make instructions"
    if [ $((100 * counts[$row])) -gt $(((100 + tolerance) * before)) ]; then
      echo "$row: ${counts[$row]} instructions per request, more than $tolerance % above the recorded $before"
      grown=1
    fi
  done
  if [ "$grown" = 1 ]; then
    echo "$(grep '^Recorded' "$recorded") This is $(rustc --version), $(valgrind --version)."
    echo 'If the growth is worth it, record it with: make instructions'
    exit 1
  fi
  exit 0
fi

[ -z "${ROWS:-}" ] || exit 0
describe() {
  case $1 in
    bare) echo 'one bare axum route, 32 connections' ;;
    cached) echo '`GET /data/1`, a hit in Redis, 32 connections, access log off' ;;
    cached-log) echo 'the same, access log on' ;;
    near) echo '`GET /data/1`, a hit in the near cache, 32 connections, access log off' ;;
    uncached) echo '`GET /data/{id}` with `CACHE=off`, 10 connections, access log off' ;;
  esac
}
{
  echo '# Instructions per request'
  echo
  echo 'Instructions that the API executes for one request, counted by callgrind (`make instructions`). The work of the kernel, Redis'
  echo 'and Postgres is not in them, nor are probes. Repeated counts differ by less than 1 %. CI fails when one grows by more than'
  echo "$tolerance %."
  echo
  echo '| path | request | instructions | of the bare route |'
  echo '| --- | --- | ---: | ---: |'
  for row in $rows; do
    ratio=$(awk -v a="${counts[$row]}" -v b="${counts[bare]}" 'BEGIN { printf "%.2f", a / b }')
    echo "| $row | $(describe "$row") | ${counts[$row]} | $ratio |"
  done
  echo
  echo "Recorded with $(rustc --version | cut -d ' ' -f 1-2), $(valgrind --version), $(uname -m)."
} >"$recorded"
cat "$recorded"
