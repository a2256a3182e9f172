#!/bin/sh
# Updates the database roles at each `docker compose up`, before the migrations. It connects through the socket, where
# Postgres trusts its own system user, so it also works on a volume that was created with another password.
set -eu

# A password as an SQL literal. Passwords from make-secrets.sh contain no quotes, but others may.
setting() { printf "SET stack.%s = '%s';\n" "$1" "$(tr -d '\r\n' <"$2" | sed "s/'/''/g")"; }
{
    setting superuser_password /secrets/postgres/superuser-password
    setting migrator_password /secrets/migrate/database-password
    setting app_password /secrets/api/database-password
    cat /roles.sql
} | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set VERBOSITY=terse --host /var/run/postgresql \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"
echo 'the roles are up to date'
