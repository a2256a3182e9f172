#!/usr/bin/env bash
# Compares each path of the stack with its practical limit on this machine. Run it with `make bench` (about ten minutes).
#
# Each row is measured in paired rounds (`load ab`), so that other load on the machine affects both sides equally. It writes
# load-tests/results/benchmark.md and the table of the README. It fails only on invalid runs (exit code 2): a ratio below its
# goal is a result. ROUNDS, SECONDS_EACH and ROWS="cached-log-off nginx" make it shorter; then nothing is written.
set -euo pipefail
export LC_ALL=C

all='cached-log-off cached-log-on near-log-off near-log-on uncached nginx nginx-near generator'
rounds=${ROUNDS:-8} seconds=${SECONDS_EACH:-2} rows=${ROWS:-$all}
cd "$(dirname "$0")/.."
bin=target/release
folder=$(mktemp -d)
pids=()
invalid=0

fail() { printf 'benchmark: %s\n' "$*" >&2; exit 2; }
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for state in "$folder"/stack-*; do
    [ ! -d "$state" ] || "$bin/lab" --state-dir "$state" down --purge >/dev/null 2>&1 || true
  done
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

for program in "$bin/api" "$bin/lab" "$bin/load" "$bin/examples/bare"; do
  [ -x "$program" ] || fail "$program is missing: make bench builds it"
done
command -v taskset >/dev/null || fail "taskset is missing: apt-get install util-linux"
[ "$(nproc)" -ge 2 ] || fail "two cores are needed, one for the server and one for the client"

# The share of all cores that is used, in percent, over two seconds.
busy() {
  local first second
  first=$(head -n 1 /proc/stat); sleep 2; second=$(head -n 1 /proc/stat)
  printf '%s\n%s\n' "$first" "$second" | awk '
    { total = 0; for (i = 2; i <= 9; i++) total += $i; idle = $5 + $6 }
    NR == 1 { t = total; n = idle } END { printf "%d", 100 - 100 * (idle - n) / (total - t) }'
}
used=$(busy)
[ "$used" -le 15 ] || fail "invalid: other programs use $used % of this machine's cores; run it when they have ended"

# Starts a stack: name, then the options of `lab up`. Its address is then in ${url[name]}.
declare -A url
stack() {
  local name=$1
  shift
  "$bin/lab" --state-dir "$folder/stack-$name" up --detach --port 0 "$@" >"$folder/up.log" 2>&1 ||
    fail "the stack does not start: $(tail -n 5 "$folder/up.log")"
  "$bin/lab" --state-dir "$folder/stack-$name" status --json >"$folder/$name.json"
  url[$name]=$(sed -n 's/.*"base_url": "\([^"]*\)".*/\1/p' "$folder/$name.json")
  "$bin/load" run "${url[$name]}/data/1" --requests 200 >/dev/null
}
down() { "$bin/lab" --state-dir "$folder/stack-$1" down --purge >/dev/null 2>&1; }
# The address and the process of a stack's first replica.
replica_url() { grep -A4 '"name": "api-1"' "$folder/$1.json" | sed -n 's/.*"url": "\([^"]*\)".*/\1/p'; }
replica_pid() { grep -A4 '"name": "api-1"' "$folder/$1.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }

# Starts bare routes on these ports of loopback; a list of cores first.
bare() {
  local cores=$1 port
  shift
  for port in "$@"; do
    taskset -c "$cores" "$bin/examples/bare" "127.0.0.1:$port" &
    pids+=($!)
    for _ in $(seq 100); do "$bin/load" run "http://127.0.0.1:$port/data/1" --requests 1 >/dev/null 2>&1 && break; sleep 0.02; done
  done
}

table=()
row() { # label, limit, ours, limit's rate, ours' rate, ratio, interval, goal
  table+=("| $1 | $3 | $2 | $4 | $5 | **$6** ($7) | $8 |")
  printf '%s: %s against %s (%s): %s (%s), goal %s\n' "$1" "$5" "$4" "$2" "$6" "$7" "$8"
}

# Measures two addresses alternately: label, name of the limit, name of ours, goal, limit's URL, our URL, command of `load`.
pair() {
  local label=$1 limit=$2 ours=$3 goal=$4 a=$5 b=$6
  shift 6
  echo "measuring: $label"
  if ! "$@" "$bin/load" ab "$a" "$b" --rounds "$rounds" --no-control --duration "${seconds}s" --warmup 300ms \
    --connections "${connections:-32}" >"$folder/ab.txt" 2>&1; then
    echo "invalid: $(grep -m 1 -i -E 'invalid|error' "$folder/ab.txt" || tail -n 2 "$folder/ab.txt")"
    table+=("| $label | $ours | $limit | | | invalid | $goal |")
    invalid=1
    return
  fi
  local -a n
  read -ra n < <(awk 'index($0, "Requests per second") == 1 { $1 = $2 = $3 = ""; print }' "$folder/ab.txt")
  row "$label" "$limit" "$ours" "${n[0]}" "${n[4]}" "${n[8]}" "${n[9]} … ${n[11]}" "$goal"
}

cached() { # name, what is read, ACCESS_LOG, goal, NEAR_CACHE
  stack "$1" --replicas 1 --env WORKER_THREADS=1 --env "ACCESS_LOG=$3" --env "NEAR_CACHE=$5"
  taskset -apc 0 "$(replica_pid "$1")" >/dev/null
  for pid in $(grep -o '"pid": [0-9]*' "$folder/$1.json" | grep -o '[0-9]*'); do
    [ "$pid" = "$(replica_pid "$1")" ] || taskset -apc 1 "$pid" >/dev/null
  done
  bare 0 19101
  pair "$2, one core, access log $3" "bare axum route, same core" "GET /data/1 of a replica" "$4" \
    http://127.0.0.1:19101/data/1 "$(replica_url "$1")/data/1" taskset -c 1
  kill "${pids[-1]}"; unset 'pids[-1]'
  down "$1"
}

uncached() {
  local pgbench
  pgbench=$(command -v pgbench || ls /usr/lib/postgresql/*/bin/pgbench 2>/dev/null | tail -n 1) || true
  if [ -z "$pgbench" ]; then
    echo "pgbench is missing, so the uncached read is not compared: apt-get install postgresql-client postgresql-contrib"
    table+=("| uncached read, 10 connections | | \`pgbench\` is not installed | | | | ≥ 0.60 |")
    return
  fi
  stack uncached --replicas 1 --env CACHE=off --env WORKER_THREADS=1
  local password host port user name tps rps
  # shellcheck disable=SC2016
  read -r password host port user name < <("$bin/lab" --state-dir "$folder/stack-uncached" psql -- -qAt \
    -c '\getenv password PGPASSWORD' -c '\echo :password :HOST :PORT :USER :DBNAME')
  printf '%s\n' '\set id random(1, 1000)' \
    'SELECT id, name, value, version, updated_at FROM records WHERE id = :id;' >"$folder/read.sql"
  echo "measuring: uncached read"
  for _ in $(seq "$rounds"); do
    tps=$(PGPASSWORD=$password "$pgbench" -n -M prepared -c 10 -j 1 -T "$seconds" -f "$folder/read.sql" -h "$host" -p "$port" \
      -U "$user" "$name" 2>"$folder/pgbench.log" | awk '/^tps/ { print $3 }') || fail "pgbench: $(cat "$folder/pgbench.log")"
    "$bin/load" run "$(replica_url uncached)/data/{id}" --ids 1..1000 --connections 10 --duration "${seconds}s" \
      --warmup 300ms >"$folder/run.txt" || { echo "invalid: $(tail -n 3 "$folder/run.txt")" >&2; invalid=1; }
    rps=$(awk 'index($0, "Requests per second") == 1 { print $4 }' "$folder/run.txt")
    echo "$tps $rps"
  done >"$folder/pairs"
  local -a n
  read -ra n < <(awk 'function middle(v, count,   i, j, t) {
      for (i = 2; i <= count; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return (v[int((count + 1) / 2)] + v[int(count / 2) + 1]) / 2 }
    { a[NR] = $1; b[NR] = $2; r[NR] = $2 / $1 }
    END { m = middle(r, NR); printf "%.0f %.0f %.3f %.3f %.3f\n", middle(a, NR), middle(b, NR), m, r[1], r[NR] }' "$folder/pairs")
  row "uncached read, 10 connections" "\`pgbench -M prepared\`, the same statement" "one replica, \`CACHE=off\`" \
    "${n[0]}" "${n[1]}" "${n[2]}" "${n[3]} … ${n[4]} in $rounds rounds" "≥ 0.60"
  down uncached
}

nginx_path() { # label, goal, NEAR_CACHE
  stack three --replicas 3 --env "NEAR_CACHE=$3"
  local home="$folder/stack-three/nginx" twin="$folder/stack-three/nginx-of-bare" port=19120
  bare "0-$(($(nproc) - 1))" 19111 19112 19113
  cp -r "$home" "$twin"
  rm -f "$twin/nginx.pid"
  sed -i -E "s/listen 127.0.0.1:[0-9]+/listen 127.0.0.1:$port/" "$twin/driver/listen.conf"
  sed -i 's/nginx-access/nginx-of-bare-access/' "$twin/driver/http.conf"
  # The three addresses replace those of the replicas, and those of their reserve entries.
  awk '/^server/ { sub(/127\.0\.0\.1:[0-9]+/, "127.0.0.1:" 19111 + n++ % 3) } { print }' "$home/driver/servers.conf" >"$twin/driver/servers.conf"
  PATH="$PATH:/usr/sbin:/usr/local/sbin" nginx -p "$twin/" -c "$twin/nginx.conf" 2>"$folder/nginx.log" &
  pids+=($!)
  for _ in $(seq 100); do "$bin/load" run "http://127.0.0.1:$port/data/1" --requests 1 >/dev/null 2>&1 && break; sleep 0.02; done
  connections=64 pair "$1" "3 bare routes behind the same nginx configuration" \
    "GET /data/1 through nginx" "$2" "http://127.0.0.1:$port/data/1" "${url[three]}/data/1" env
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  # The next row needs the same ports.
  wait "${pids[@]}" 2>/dev/null || true
  pids=()
  down three
}

generator() {
  local peer goal
  ROUNDS=$rounds SECONDS_EACH=$seconds load-tests/bench.sh >"$folder/generator.txt" || { invalid=1; cat "$folder/generator.txt"; return; }
  grep missing "$folder/generator.txt" || true
  local own_rate own_cpu rate cpu ratio
  # The table is at the end: name, rate, CPU time per request, ratio.
  read -r own_rate own_cpu < <(awk '$1 == "load" { print $2, $3 }' "$folder/generator.txt" | tail -n 1)
  for peer in wrk oha; do
    [ "$peer" = wrk ] && goal='≥ 1.05' || goal='≥ 1.30'
    read -r rate cpu ratio < <(awk -v peer=$peer '$1 == peer && NF == 4 { print $2, $3, $4 }' "$folder/generator.txt" | tail -n 1) || {
      table+=("| \`load\`, one core | | \`$peer\` is not installed | | | | $goal |")
      continue
    }
    row "\`load\`, one core" "\`$peer\`, $cpu µs of CPU time per request" "closed loop against nginx, $own_cpu µs" "$rate" "$own_rate" \
      "$ratio" "median of rounds" "$goal"
  done
}

for name in $rows; do
  case $name in
    cached-log-off) cached "$name" 'cached read' off '≥ 0.60' off ;;
    cached-log-on) cached "$name" 'cached read' on '≥ 0.52' off ;;
    near-log-off) cached "$name" 'near-cache read' off '≥ 0.85' on ;;
    near-log-on) cached "$name" 'near-cache read' on '≥ 0.75' on ;;
    uncached) uncached ;;
    nginx) nginx_path 'cached read through nginx, 3 replicas, defaults' '≥ 0.80' off ;;
    nginx-near) nginx_path 'the same with the near cache' '≥ 0.90' on ;;
    generator) generator ;;
    *) fail "there is no row $name; there are $all" ;;
  esac
done

{
  echo "| path | ours | its limit, same run | limit [1/s] | ours [1/s] | ratio (95 % interval) | goal |"
  echo "| --- | --- | --- | ---: | ---: | ---: | ---: |"
  printf '%s\n' "${table[@]}"
  echo
  echo "Recorded by \`make bench\` on $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r | cut -d- -f1);"
  echo "medians of $rounds paired rounds of $seconds s."
} >"$folder/table.md"
echo
cat "$folder/table.md"
[ "$invalid" -eq 0 ] || fail "invalid: at least one row could not be measured; nothing is recorded"
if [ "${ROWS:-}${ROUNDS:-}${SECONDS_EACH:-}" = "" ]; then
  { echo "# The stack beside the limits of the machine"; echo; cat "$folder/table.md"; } >load-tests/results/benchmark.md
  awk -v file="$folder/table.md" '
    /<!-- benchmark: begin/ { print; while ((getline line <file) > 0) print line; skip = 1 }
    /<!-- benchmark: end/ { skip = 0 }
    !skip' README.md >"$folder/README.md"
  cp "$folder/README.md" README.md
fi
