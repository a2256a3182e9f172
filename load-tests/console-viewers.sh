#!/usr/bin/env bash
# What viewers of the console cost the stack: its throughput without viewers and with 50 of them, in turns, and the CPU time of
# the console itself.
#
#   cargo build --release -p api -p lab -p loadgen && load-tests/console-viewers.sh
#
# Each round is one closed loop that takes all of the machine without viewers, one with, and one more without as a control, in
# changing order. A viewer is a real stream (`curl` on /stream). ROUNDS, SECONDS_EACH and VIEWERS change the size; only the usual size
# (24 rounds of 3 s, 50 viewers) writes load-tests/results/console.md. Exit code 2: invalid.
set -euo pipefail
export LC_ALL=C

rounds=${ROUNDS:-24} seconds=${SECONDS_EACH:-3} viewers=${VIEWERS:-50}
is_usual=$([ "${ROUNDS:-}${SECONDS_EACH:-}${VIEWERS:-}" = "" ] && echo yes || echo no)
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-target/release}
load=$programs/load lab=$programs/lab
folder=$(mktemp -d)
console='' streams=''

fail() { printf 'console-viewers: %s\n' "$*" >&2; exit 2; }
end_viewers() {
  [ -z "$streams" ] || { kill "$streams" 2>/dev/null || true; wait "$streams" 2>/dev/null || true; }
  streams=''
}
finish() {
  end_viewers
  [ -z "$console" ] || { kill -INT "$console" 2>/dev/null || true; wait "$console" 2>/dev/null || true; }
  "$lab" --state-dir "$folder/stack" down --purge >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

for program in "$load" "$lab" "$programs/api"; do
  [ -x "$program" ] || fail "$program is missing: cargo build --release -p api -p lab -p loadgen"
done
command -v curl >/dev/null || fail "curl is missing: apt-get install curl"

"$lab" --state-dir "$folder/stack" up --detach --port 0 >"$folder/up.log" 2>&1 ||
  fail "the stack does not start: $(tail -n 5 "$folder/up.log")"
url=$("$lab" --state-dir "$folder/stack" status --json | sed -n 's/.*"base_url": "\([^"]*\)".*/\1/p')
"$lab" --state-dir "$folder/stack" console --no-open --port 0 >"$folder/console.log" 2>&1 &
console=$!
page=''
for _ in $(seq 100); do
  page=$(sed -n 's|^\(http://[^/]*\)/.*|\1|p' "$folder/console.log")
  [ -z "$page" ] || break
  sleep 0.1
done
[ -n "$page" ] || fail "the console does not start: $(cat "$folder/console.log")"

# A config file, since fifty addresses with their own outputs are long.
for _ in $(seq "$viewers"); do printf 'url = "%s/stream"\noutput = "/dev/stdout"\n' "$page"; done >"$folder/viewers"
connected() { curl -s "$page/" >/dev/null && ss -Htn state established "dport = :${page##*:}" | wc -l; }

# Starts the viewers and waits until each has had frames. Their bytes are counted, so that what was measured were streams.
start_viewers() {
  : >"$folder/bytes"
  curl -sN --parallel --parallel-immediate --parallel-max "$viewers" --config "$folder/viewers" 2>/dev/null > >(wc -c >"$folder/bytes") &
  streams=$!
  for _ in $(seq 100); do
    [ "$(connected)" -lt "$viewers" ] || break
    sleep 0.1
  done
  [ "$(connected)" -ge "$viewers" ] || fail "invalid: only $(connected) of $viewers viewers are connected"
  # The first frame has the whole history; what is measured are the following ones.
  sleep 1.5
}

# CPU time of processes, in ticks; what has ended counts no more.
ticks() {
  local pid sum=0
  for pid in "$@"; do sum=$((sum + $(awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat"))); done
  echo "$sum"
}
# From ticks at the beginning and at the end, and the times of both in microseconds: percent of one core.
share() { awk -v ticks=$(($2 - $1)) -v hz="$(getconf CLK_TCK)" -v us=$(($4 - $3)) 'BEGIN { printf "%.2f", ticks / hz / us * 1e8 }'; }
now() { echo "${EPOCHREALTIME/./}"; }

# CPU time of the console, and of the viewers where there are some, while a command runs.
measured() {
  local start from seen
  start=$(now) from=$(ticks "$console")
  # Without viewers: of nothing.
  seen=$(ticks ${streams:+"$streams"})
  "$@"
  echo "$(share "$from" "$(ticks "$console")" "$start" "$(now)")" \
    "$(share "$seen" "$(ticks ${streams:+"$streams"})" "$start" "$(now)")" >"$folder/cpu"
}

saturate() {
  "$load" run "$url/data/1" --connections 64 --duration "${seconds}s" --warmup 500ms >"$folder/run.txt" ||
    fail "invalid: $(tail -n 3 "$folder/run.txt")"
}
# Throughput with or without viewers, then the CPU time of the console and of the viewers.
throughput() {
  [ "$1" = without ] || start_viewers
  measured saturate
  [ "$1" = without ] || { kill -0 "$streams" 2>/dev/null || fail "invalid: the viewers have ended"; end_viewers; }
  echo "$(awk 'index($0, "Requests per second") == 1 { print $4 }' "$folder/run.txt") $(cat "$folder/cpu")"
}

"$load" run "$url/data/1" --connections 64 --duration 2s >/dev/null || true
echo "CPU time of the console without load …"
measured sleep 30
read -r alone _ <"$folder/cpu"
start_viewers
measured sleep 30
read -r watched viewing <"$folder/cpu"
end_viewers
bytes=$(cat "$folder/bytes")
[ "${bytes:-0}" -gt $((viewers * 10000)) ] || fail "invalid: the viewers have received ${bytes:-0} bytes"
printf 'alone %s %%, with %d viewers %s %% of one core, and the viewers %s %%\n' "$alone" "$viewers" "$watched" "$viewing"

for round in $(seq "$rounds"); do
  case $((round % 3)) in
    0) order='a b c' ;;
    1) order='c a b' ;;
    2) order='b c a' ;;
  esac
  declare -A found=()
  for side in $order; do
    # The viewers live in this shell, not in a subshell's.
    throughput "$([ "$side" = b ] && echo with || echo without)" >"$folder/rps"
    found[$side]=$(cat "$folder/rps")
  done
  echo "${found[a]} ${found[b]} ${found[c]}" | tee -a "$folder/rounds"
done

# Columns: throughput, CPU of the console, CPU of the viewers; without viewers, with them, without as the control.
# The middle of the ratios and its 95 % interval: between the k-th smallest and the k-th largest, by the sign test.
statistics() { # columns of the ratio: numerator, denominator
  awk -v top="$1" -v bottom="$2" '
    { r[NR] = $top / $bottom }
    END {
      for (i = 2; i <= NR; i++) for (j = i; j > 1 && r[j] < r[j - 1]; j--) { t = r[j]; r[j] = r[j - 1]; r[j - 1] = t }
      p = 2 ^ -NR; sum = p; k = 0
      for (i = 1; 2 * sum <= 0.05; i++) { k = i; p *= (NR - i + 1) / i; sum += p }
      middle = (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2
      if (k < 1) k = 1
      printf "%.3f (%.3f … %.3f)\n", middle, r[k], r[NR + 1 - k]
    }' "$folder/rounds"
}
middle() { sort -n -k "$1" "$folder/rounds" | awk -v at="$1" '{ v[NR] = $at } END { m = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; printf(m < 100 ? "%.2f" : "%.0f"), m }'; }

{
  echo "# What viewers of the console cost"
  echo
  echo "Made by \`load-tests/console-viewers.sh\` on $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r | cut -d- -f1)."
  echo "The stack has 3 replicas, the load is \`GET /data/1\` through nginx with 64 connections in a closed loop, and the viewers are on the"
  echo "same machine: their own CPU time is part of the cost. $rounds rounds of $seconds s each; medians, with 95 % intervals (sign test)."
  echo
  echo "| | without viewers | with $viewers viewers | ratio |"
  echo "| --- | ---: | ---: | ---: |"
  echo "| throughput [1/s] | $(middle 1) | $(middle 4) | $(statistics 4 1) |"
  echo "| control: without against without | $(middle 1) | $(middle 7) | $(statistics 7 1) |"
  echo "| CPU time of the console without load [% of one core] | $alone | $watched | |"
  echo "| CPU time of the console under this load | $(middle 2) | $(middle 5) | |"
  echo "| CPU time of the viewers (one \`curl\`) without load, under load | | $viewing, $(middle 6) | |"
  echo
  awk -v a="$alone" -v b="$watched" -v c="$viewing" -v cores="$(nproc)" -v viewers="$viewers" -v tick="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN {
    printf "All %d viewers, with what the console does for them, take **%.2f %%** of the CPU time of this machine. ", viewers, (b - a + c) / cores
    printf "That bounds what they\ncan take from the stack more closely than the throughput, which differs by more between equal runs. "
    printf "CPU time is counted in ticks:\nunder load it is exact to %.1f %% of one core.\n", 100 / tick / (s + 0.5) }'
} >"$folder/table.md"
cat "$folder/table.md"
[ "$is_usual" = no ] || cp "$folder/table.md" load-tests/results/console.md
