# shellcheck shell=bash
# Checks of deploy/e2e.sh: reachability, passwords, privileges of roles, limits of one client.
# shellcheck disable=SC2154  # project, work and base are the caller's

# ---- Networks ----

# A listener on every address of the engine's machine, including those in its networks.
begin_listening() {
    local image
    image=$(inspect '{{.Config.Image}}' "$(containers redis)")
    for listener_port in 27611 28611 29611; do
        docker run --detach --rm --name "$project-listener" --network host --user 65534 --cap-drop ALL --read-only \
            --entrypoint redis-server "$image" --port "$listener_port" --save '' --requirepass "$RANDOM$RANDOM$RANDOM" >/dev/null
        within 5 listens >/dev/null && return
        docker rm --force --volumes "$project-listener" >/dev/null 2>&1 || true
    done
    return 1
}

listens() { [ -n "$(reaches host 127.0.0.1)" ]; }

# Prints the addresses at which the listener answers to a container in the network $1.
reaches() {
    local network=$1 image
    shift
    image=$(inspect '{{.Config.Image}}' "$(containers redis)")
    # shellcheck disable=SC2016  # the container's shell shall expand it
    docker run --rm --network "$network" --cap-drop ALL --user 65534 --entrypoint sh "$image" -c '
        for address in "$@"; do
            timeout 2 redis-cli -h "$address" -p "$0" ping 2>&1 | grep -q NOAUTH && echo "$address" &
        done
        wait' "$listener_port" "$@"
}

# From a replica's network, as an attacker in the replica would see it.
replica_cannot_get_out() {
    local replica addresses got
    replica=$(containers api | sed -n 1p)
    # Every address by which a container could find the engine's machine.
    mapfile -t addresses < <({
        {
            echo bridge
            docker network ls --quiet --filter "label=com.docker.compose.project=$project"
        } | xargs docker network inspect --format '{{range .IPAM.Config}}{{.Gateway}}{{println}}{{end}}'
        docker run --rm --network host --entrypoint hostname "$(inspect '{{.Config.Image}}' "$(containers redis)")" -I
    } | tr ' ' '\n' | grep -E '^[0-9]+[0-9.]+$' | sort -u)
    got=$(reaches "container:$replica" "${addresses[@]}")
    [ -z "$got" ] || { echo "the engine's machine answers at $got" && return 1; }
    # Otherwise this check could not fail.
    [ -n "$(reaches bridge "${addresses[@]}")" ] || { echo "the listener is not to be reached from anywhere" && return 1; }
    echo "${#addresses[@]} addresses"
}

# ---- Passwords and rights ----

# For a service's containers: their volumes, and no password in their environment or command line.
knows_only() {
    local service=$1 wanted=$2 container got
    for container in $(compose ps --all --quiet "$service"); do
        got=$(inspect '{{range .Mounts}}{{.Name}}{{println}}{{end}}' "$container" | sed -n "s/^${project}_secrets-//p" | paste -sd ' ')
        [ "$got" = "$wanted" ] || { echo "$service: $got" && return 1; }
        ! inspect '{{json .Config}} {{json .Args}}' "$container" | grep -F -f "$work/passwords" || return 1
    done
}

# Every `down` would leave an anonymous volume behind.
every_volume_has_a_name() {
    local got
    got=$(compose ps --all --quiet | xargs docker inspect --format \
        '{{$name := .Name}}{{range .Mounts}}{{if eq .Type "volume"}}{{$name}} {{.Name}}{{println}}{{end}}{{end}}' |
        grep -v " ${project}_" || true)
    [ -z "$got" ] || { echo "$got" && return 1; }
}

# All of them, as the volumes' files have them.
passwords() {
    local volume mounts=()
    for volume in api migrate postgres redis; do mounts+=(--volume "${project}_secrets-$volume:/secrets/$volume:ro"); done
    docker run --rm --network none "${mounts[@]}" --entrypoint sh \
        "$(inspect '{{.Config.Image}}' "$(containers redis)")" -c 'cat /secrets/*/*-password' | grep -oE '[0-9a-f]{48}'
}

# Five of them, none twice.
passwords_are_random() {
    passwords >"$work/passwords"
    [ "$(wc -l <"$work/passwords")" = 5 ] && [ "$(sort -u "$work/passwords" | wc -l)" = 5 ]
}

new_passwords() { ! passwords | grep -F -f "$work/passwords"; }

# As a user of Postgres, with its password over TCP.
psql_as() {
    local volume=$1 user=$2 sql=$3 password
    password=$(docker run --rm --network none --volume "${project}_secrets-$volume:/secrets:ro" --entrypoint cat \
        "$(inspect '{{.Config.Image}}' "$(containers redis)")" /secrets/database-password)
    compose exec -T --env PGPASSWORD="$password" postgres sh -c \
        'psql --host "$(hostname -i)" --username "$0" --dbname "$POSTGRES_DB" -Atc "$1"' "$user" "$sql" </dev/null
}

superuser() { compose exec -T postgres sh -c 'psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -Atqc "$0"' "$1" </dev/null; }

redis_admin() {
    compose exec -T redis sh -c 'REDISCLI_AUTH="$(cat /run/secrets/admin-password)" redis-cli --user admin "$@"' - "$@" </dev/null
}

# Owns nothing, has no special attributes, and cannot change a table.
role_is_small() {
    local said
    [ "$(superuser "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'app'::regrole AND deptype = 'o'")" = 0 ] &&
        [ "$(superuser "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'app'")" = f ] &&
        [ "$(psql_as api app 'SELECT current_user')" = app ] || return 1
    for sql in 'ALTER TABLE records ADD x int' 'CREATE TABLE mine (id int)' 'DELETE FROM _sqlx_migrations'; do
        said=$(psql_as api app "$sql" 2>&1) && { echo "allowed: $sql" && return 1; }
        [[ $said == *'must be owner'* || $said == *'permission denied'* ]] || { echo "$said" && return 1; }
    done
}

# Nothing that the replicas did so far was refused; what they may not do is refused.
user_is_small() {
    local denied
    denied=$(redis_admin ACL LOG)
    [ -z "$denied" ] || { echo "$denied" && return 1; }
    for command in 'FLUSHALL' 'CONFIG GET maxmemory' 'GET other'; do
        denied=$(redis_admin ACL DRYRUN app $command 2>&1)
        [[ $denied == *'no permissions'* ]] || { echo "$command: $denied" && return 1; }
    done
    [[ $(compose exec -T redis redis-cli ping </dev/null 2>&1) == *NOAUTH* ]]
}

# The state of an earlier version: the superuser owns everything and has another password, and the new passwords are lost.
age() {
    superuser "ALTER ROLE CURRENT_USER PASSWORD 'of-before'; REASSIGN OWNED BY migrator TO CURRENT_USER; DROP OWNED BY app, migrator; DROP ROLE app, migrator" || return 1
    quiet_compose down --timeout 10 && docker volume rm "${project}_secrets-"{api,migrate,postgres,redis} >/dev/null
}

# ---- Limits ----

# Many requests of one client at once: some are answered, the others refused by nginx with a problem, and nothing else.
one_client_is_limited() {
    local codes
    codes=$(hammer)
    echo "$(paste -sd ' ' <<<"$codes")"
    grep -q ' 200$' <<<"$codes" && grep -q ' 429$' <<<"$codes" && [ "$(wc -l <<<"$codes")" = 2 ]
}

nobody_is_limited() {
    local codes
    codes=$(hammer)
    echo "$(paste -sd ' ' <<<"$codes")"
    ! grep -q ' 429$' <<<"$codes"
}

# 3,000 requests, 40 at a time: fewer than the replicas admit.
hammer() {
    curl --silent --parallel --parallel-max 40 --max-time 60 --output /dev/null --write-out '%{http_code}\n' \
        "$base/data/1?n=[1-3000]" 2>/dev/null | sort | uniq -c | sed 's/^ *//'
}

refused_as_a_problem() {
    local got
    got=$(curl --silent --include --parallel --parallel-max 40 --max-time 60 "$base/data/1?n=[1-3000]" 2>/dev/null | tr -d '\r')
    grep -q '"status":429.*"code":"rate_limited"' <<<"$got" && grep -qix 'retry-after: [123]' <<<"$got"
}
