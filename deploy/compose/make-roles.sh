#!/bin/sh
# Brings the roles of the database up to date, at each `docker compose up` and before the migrations. By the socket, where
# Postgres trusts its own system user: so it also works on a volume that was made with another password.
set -eu

# A password as SQL has it; the ones that make-secrets.sh makes have no quotes in them, those of others may.
setting() { printf "SET stack.%s = '%s';\n" "$1" "$(tr -d '\r\n' <"$2" | sed "s/'/''/g")"; }
{
    setting superuser_password /secrets/postgres/superuser-password
    setting migrator_password /secrets/migrate/database-password
    setting app_password /secrets/api/database-password
    cat /roles.sql
} | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set VERBOSITY=terse --host /var/run/postgresql \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"
echo 'the roles are up to date'
