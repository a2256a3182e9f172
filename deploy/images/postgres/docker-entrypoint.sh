#!/bin/bash
# Behaves as the official image does where docker-compose.yml relies on it: the first start makes a cluster in $PGDATA
# with POSTGRES_USER, POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) and POSTGRES_DB, and runs /docker-entrypoint-initdb.d/*.sh
# on it; later starts use it as it is. Not here: other *_FILE variables and other kinds of files in that folder.
set -euo pipefail

if [ "${1:-}" = "" ] || [ "${1:0:1}" = - ]; then
    set -- postgres "$@"
fi
if [ "$1" != postgres ]; then
    exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
    fi
    : "${POSTGRES_PASSWORD:?must be set for the first start, when the database is created}"
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}

    # Made beside its place and moved there complete: a first start that is interrupted leaves nothing half done.
    new=$PGDATA.new
    rm -rf "$new"
    mkdir -p "$(dirname "$PGDATA")"
    initdb --pgdata "$new" --username "$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$new/postgresql.conf"
    if [ "$database" != postgres ]; then
        postgres --single -D "$new" postgres <<<"CREATE DATABASE \"${database//\"/\"\"}\"" >/dev/null
    fi
    # As in the official image: reached through the socket only, so that no client finds the half-made database; a script that
    # is not executable is sourced.
    scripts=(/docker-entrypoint-initdb.d/*.sh)
    if [ -e "${scripts[0]}" ]; then
        pg_ctl --pgdata "$new" --wait --silent --options "-c listen_addresses=''" start
        for script in "${scripts[@]}"; do
            echo "running $script"
            if [ -x "$script" ]; then
                "$script"
            else
                # shellcheck source=/dev/null
                . "$script"
            fi
        done
        pg_ctl --pgdata "$new" --wait --silent --mode fast stop
    fi
    if [ -d "$PGDATA" ]; then
        rmdir "$PGDATA" # only when it is empty
    fi
    mv "$new" "$PGDATA"
    echo "database $database created for $user"
fi

exec "$@"
