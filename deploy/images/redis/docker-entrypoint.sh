#!/bin/sh
# Behaves as the official image does: options alone mean redis-server, and the server does not run as root.
set -eu

case "${1:-}" in
'' | -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown redis:redis .
    exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
fi
exec "$@"
