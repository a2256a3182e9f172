#!/usr/bin/env bash
# How fast is `load`, next to wrk and oha? Run it by `make bench-load`.
#
# One nginx on a core of its own serves a constant answer; the clients take turns on another core, round by round, so that
# whatever else the machine does hits all of them alike. The table shows the medians and their ratios.
set -euo pipefail
export LC_ALL=C

rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-5} connections=${CONNECTIONS:-32} port=${PORT:-18980}
top=$(cd "$(dirname "$0")/.." && pwd)
load=${LOAD:-$top/target/release/load}
server_core=0 client_core=1
folder=$(mktemp -d)
nginx_pid=
finish() {
  [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || true
  [ -z "$nginx_pid" ] || wait "$nginx_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

fail() { printf 'bench-load: %s\n' "$*" >&2; exit 2; }
[ -x "$load" ] || fail "$load is missing: cargo build --release -p loadgen"
nginx=$(PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx) || fail "nginx is missing: apt-get install nginx-light"
command -v taskset >/dev/null || fail "taskset is missing: apt-get install util-linux"
[ "$(nproc)" -ge 2 ] || fail "two cores are needed, one for the server and one for the client"

clients=(load)
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

cat >"$folder/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $folder/1; proxy_temp_path $folder/2; fastcgi_temp_path $folder/3;
  uwsgi_temp_path $folder/4; scgi_temp_path $folder/5;
  server {
    listen 127.0.0.1:$port;
    location / { default_type text/plain; return 200 "hello\n"; }
  }
}
CONF
taskset -c $server_core "$nginx" -p "$folder" -c "$folder/nginx.conf" -e stderr &
nginx_pid=$!
url=http://127.0.0.1:$port/
for _ in $(seq 100); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  kill -0 "$nginx_pid" 2>/dev/null || fail "nginx did not start; is port $port taken? Choose another by PORT=…"
  sleep 0.05
done

# Prints the requests per second of one run.
measure() {
  case $1 in
    # Exit code 2 is the generator's own word that it was the bottleneck, which is what is to be measured here.
    load) taskset -c $client_core "$load" run "$url" -c "$connections" -d "${seconds}s" || [ $? -eq 2 ] ;;
    wrk) taskset -c $client_core wrk -t1 -c"$connections" -d"${seconds}s" "$url" ;;
    oha) taskset -c $client_core oha --no-tui -c "$connections" -z "${seconds}s" "$url" ;;
  esac | awk '/^Requests per second:/ { print $4 } /^Requests\/sec:/ || /^  Requests\/sec:/ { print $2 }' | head -n 1
}

echo "$rounds rounds of $seconds s each, $connections connections; nginx on core $server_core, clients on core $client_core"
for client in "${clients[@]}"; do measure "$client" >/dev/null; done # warm-up
for round in $(seq "$rounds"); do
  line="round $round:"
  for client in "${clients[@]}"; do
    rate=$(measure "$client")
    [ -n "$rate" ] || fail "$client gave no rate"
    echo "$rate" >>"$folder/$client.rates"
    line+="  $client $rate/s"
  done
  echo "$line"
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
own=$(median "$folder/load.rates")
printf '\n%-8s %14s %14s\n' client 'median [#/s]' 'load : client'
for client in "${clients[@]}"; do
  rate=$(median "$folder/$client.rates")
  printf '%-8s %14.0f %14s\n' "$client" "$rate" "$(awk -v a="$own" -v b="$rate" 'BEGIN { printf "%.2f", a / b }')"
done
echo "Budget: at least 0.90 of wrk and 1.10 of oha."
