#!/usr/bin/env bash
# Counts how often `load ab` reports a difference where there is none, by measuring one server against itself repeatedly.
#
#   cargo build --release -p loadgen && load-tests/false-alarms.sh
#
# One nginx on a separate core serves a constant answer. The result is the number of comparisons that reported a difference;
# one of twenty is accepted. (1,000 simulated comparisons are a test of the crate.)
set -euo pipefail
export LC_ALL=C

comparisons=${COMPARISONS:-20} rounds=${ROUNDS:-10} length=${LENGTH:-250ms} connections=${CONNECTIONS:-4} port=${PORT:-18981}
top=$(cd "$(dirname "$0")/.." && pwd)
load=${LOAD:-$top/target/release/load}
folder=$(mktemp -d)
nginx_pid=
finish() {
  [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || true
  [ -z "$nginx_pid" ] || wait "$nginx_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

fail() { printf 'false-alarms: %s\n' "$*" >&2; exit 2; }
[ -x "$load" ] || fail "$load is missing: cargo build --release -p loadgen"
nginx=$(PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx) || fail "nginx is missing: apt-get install nginx-light"

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
taskset -c 0 "$nginx" -p "$folder" -c "$folder/nginx.conf" -e stderr &
nginx_pid=$!
url=http://127.0.0.1:$port/
for _ in $(seq 100); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  kill -0 "$nginx_pid" 2>/dev/null || fail "nginx did not start; is port $port taken? Choose another by PORT=…"
  sleep 0.05
done

alarms=0
for comparison in $(seq "$comparisons"); do
  taskset -c 1 "$load" ab "$url" "$url" --rounds "$rounds" -d "$length" -c "$connections" --no-control >"$folder/output" ||
    fail "comparison $comparison: $(tail -n 3 "$folder/output")"
  if grep -qE '^(Speed|Failures): B is' "$folder/output"; then
    alarms=$((alarms + 1))
    cat "$folder/output"
  fi
done
echo "$alarms of $comparisons comparisons of a server with itself called a difference ($rounds rounds of 2 × $length each)"
