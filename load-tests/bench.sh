#!/usr/bin/env bash
# Compares the speed of `load` with wrk and oha. Run it with `make bench-load`.
#
# One nginx on a separate core serves a constant answer. The clients run alternately on another core, round by round, so that
# other load on the machine affects all of them equally. The table shows the medians and those of the ratios within a round.
# BASE=path/to/another/load adds an earlier build. load-tests/results/generator.txt is such a table, recorded.
set -euo pipefail
export LC_ALL=C

rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-5} connections=${CONNECTIONS:-32} port=${PORT:-18980}
top=$(cd "$(dirname "$0")/.." && pwd)
load=${LOAD:-$top/target/release/load}
. "$top/load-tests/constant-nginx.sh"
client_core=1

clients=(load)
base=${BASE:-}
if [ -n "$base" ]; then
  [ -x "$base" ] || fail "BASE=$base is no program"
  clients+=(base)
fi
for peer in wrk oha; do
  if command -v "$peer" >/dev/null; then
    clients+=("$peer")
  else
    case $peer in
      wrk) echo "wrk is missing, so it is not compared: apt-get install wrk" ;;
      oha) echo "oha is missing, so it is not compared: cargo install oha" ;;
    esac
  fi
done

# Prints the requests per second of one run and the CPU time it took per request, in microseconds.
measure() {
  local TIMEFORMAT='%U %S' command rate
  case $1 in
    load) command=("$load" run "$url" -c "$connections" -d "${seconds}s") ;;
    base) command=("$base" run "$url" -c "$connections" -d "${seconds}s") ;;
    wrk) command=(wrk -t1 -c"$connections" -d"${seconds}s" "$url") ;;
    oha) command=(oha --no-tui -c "$connections" -z "${seconds}s" "$url") ;;
  esac
  # load exits with 2 if it was the bottleneck itself, which is intended here.
  { time taskset -c $client_core "${command[@]}" >"$folder/output" 2>&1 || true; } 2>"$folder/time"
  rate=$(awk '/^Requests per second:/ { print $4 } /Requests\/sec:/ { print $2 }' "$folder/output" | head -n 1)
  [ -n "$rate" ] || fail "$1 gave no rate: $(tail -n 3 "$folder/output")"
  awk -v rate="$rate" -v seconds="$seconds" '{ printf "%.0f %.2f\n", rate, ($1 + $2) * 1e6 / (rate * seconds) }' "$folder/time"
}

echo "$rounds rounds of $seconds s each, $connections connections; nginx on core 0, clients on core $client_core"
for client in "${clients[@]}"; do measure "$client" >/dev/null; done # warm-up
for round in $(seq "$rounds"); do
  line="round $round:"
  # Every second round in reverse order: a steady drift affects all clients equally.
  order=("${clients[@]}")
  if [ $((round % 2)) -eq 0 ]; then
    order=()
    for client in "${clients[@]}"; do order=("$client" "${order[@]}"); done
  fi
  for client in "${order[@]}"; do measure "$client" >"$folder/$client.result"; done
  read -r own _ <"$folder/load.result"
  for client in "${clients[@]}"; do
    read -r rate cpu <"$folder/$client.result"
    echo "$rate $cpu $own" >>"$folder/$client.rounds"
    line+="  $client $rate/s"
  done
  echo "$line"
done

# The median of an expression over a client's rounds: $1 its rate, $2 its CPU time, $3 the rate of load in the same round.
median() { awk "{ print $2 }" "$folder/$1.rounds" | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
printf '\n%-8s %12s %22s %28s\n' client 'rate [#/s]' 'CPU per request [µs]' 'load : client, same round'
for client in "${clients[@]}"; do
  printf '%-8s %12.0f %21.2f %28.2f\n' "$client" "$(median "$client" '$1')" "$(median "$client" '$2')" "$(median "$client" '$3 / $1')"
done
echo "Medians. Budget: at least 1.00 of wrk and 1.30 of oha."
