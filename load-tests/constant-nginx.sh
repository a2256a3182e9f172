# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by what measures `load` itself: an nginx on core 0 that serves a constant answer at $url, until the script ends.
# Needs $port, $load and $0; sets $folder (removed at the end), $url and fail.

name=$(basename "$0" .sh)
fail() { printf '%s: %s\n' "$name" "$*" >&2; exit 2; }
folder=$(mktemp -d)
nginx_pid=
finish() {
  [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || true
  [ -z "$nginx_pid" ] || wait "$nginx_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

[ -x "$load" ] || fail "$load is missing: cargo build --release -p loadgen"
nginx=$(PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx) || fail "nginx is missing: apt-get install nginx-light"
command -v taskset >/dev/null || fail "taskset is missing: apt-get install util-linux"
[ "$(nproc)" -ge 2 ] || fail "two cores are needed, one for the server and one for the client"

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
