#!/usr/bin/env bash
# Tests docker-compose.yml on a real Docker engine: a clone starts without another step, three replicas answer, scaling and
# crashes lose no request, outages of Redis and Postgres have the documented answers, records survive `down`, only nginx can
# be reached, and no container can reach the outside. It uses a copy of the committed files with its own project and ports,
# and removes everything it created, also when interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C # numbers with a point
# Unsets every variable that the compose file reads: the caller's settings must not affect the test.
# shellcheck disable=SC2046  # a list of words
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_ENV_FILES $(grep -oE '\$\{[A-Z_]+|^ +[A-Z_]+:$' docker-compose.yml | tr -d '${: ')

usage() {
    cat <<'USAGE'
usage: deploy/e2e.sh [--official]

Uses the images that `make images` has built; with --official those that docker-compose.yml names by default, pulled from
the registry, and the API's image compiled by its Dockerfile.
USAGE
}

images=deploy/images/offline.env
case ${1:-} in
'') ;;
--official) images=/dev/null ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

project=phase-observation-e2e
lab=$PWD/target/debug/lab
work=$(mktemp -d)
loops=()
passed=0
failed=0

exec 9>"${TMPDIR:-/tmp}/$project.lock"
flock --nonblock 9 || {
    echo "e2e: another run is under way" >&2
    exit 2
}

# ---- The stack ----

# As `git clone` would create it, without other files of this folder.
(umask 022 && mkdir "$work/clone" && git ls-files -z | xargs -0 cp --parents --target-directory "$work/clone")
# Settings that a clone does not need: images, and free ports.
cat "$images" - >"$work/env" <<END
HTTP_BIND=127.0.0.1
HTTP_PORT=0
PROMETHEUS_PORT=0
END

compose() {
    docker compose --file "$work/clone/docker-compose.yml" --project-name "$project" --env-file "$work/env" "$@" 9>&-
}
quiet_compose() { compose --progress quiet "$@"; }
containers() { compose ps --quiet "$@"; }
remove_stack() { quiet_compose --profile observability down --volumes --timeout 3 --remove-orphans 2>/dev/null || true; }
inspect() { docker inspect --format "$@"; }

cleanup() {
    local code=$?
    docker rm --force --volumes "$project-listener" >/dev/null 2>&1 || true
    trap - ERR EXIT INT TERM HUP
    case $code in
    0) ;;
    130 | 143) printf '\ninterrupted; removing the stack\n' ;;
    *)
        printf '\n---- the stack as it was ----\n'
        compose ps --all || true
        compose logs --no-color --tail 15 || true
        ;;
    esac
    end_loops
    remove_stack
    [ ! -e "$work/lab-run" ] || "$lab" --state-dir "$work/lab-run" down --purge 9>&- || true
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'echo "e2e: line $LINENO: exit $? of: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Port 0: the engine chooses a free one, and another at each start of nginx.
find_port() { base=http://$(compose port nginx 8080); }

# ---- Steps ----

# check TEXT COMMAND…: one line per check, with the time since the start. The output of the command is shown next to it.
check() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf '%4d s  ok    %s%s\n' "$SECONDS" "$text" "${said:+ ($said)}"
    else
        failed=$((failed + 1))
        printf '%4d s  FAIL  %s\n' "$SECONDS" "$text"
        printf '               %s\n' "${said:-no output}" | sed -n 1,20p
    fi
}

note() { printf '%4d s        %s\n' "$SECONDS" "$*"; }

# within SECONDS COMMAND…: repeats the command until it succeeds; prints its last output, and how long it took.
within() {
    local limit=$1 start=${EPOCHREALTIME/./} said
    shift
    while ! said=$("$@" 2>&1); do
        if (((${EPOCHREALTIME/./} - start) / 1000000 >= limit)); then
            echo "not within $limit s; the last answer: $said"
            return 1
        fi
        sleep 0.1
    done
    printf '%safter %d ms' "${said:+$said, }" $(((${EPOCHREALTIME/./} - start) / 1000))
}

# answer PATH [curl's arguments…]: status line, headers and body of one request.
answer() {
    local path=$1
    shift
    curl --silent --show-error --include --max-time 5 "$@" "$base$path" | tr -d '\r'
}

# expect STATUS PATTERN ANSWER: the status, and a pattern for grep -E somewhere in the answer.
expect() {
    local status=$1 pattern=$2 answer=$3
    [[ $answer == "HTTP/1.1 $status "* ]] && grep -Eqi -- "$pattern" <<<"$answer" && return
    echo "expected $status and '$pattern', got:"
    echo "$answer"
    return 1
}

get() { expect "$1" "$3" "$(answer "$2")"; }

problem() {
    local status=$1 code=$2 path=$3 got
    got=$(answer "$path")
    expect "$status" '^content-type: application/problem\+json' "$got" && expect "$status" "\"code\":\"($code)\"" "$got" &&
        expect "$status" '^x-request-id: .' "$got" &&
        { [ "$status" != 503 ] || expect 503 '^retry-after: [0-9]' "$got"; }
}

instances() {
    local count=$1 seen
    seen=$(for _ in $(seq $((count * 10))); do answer /data/1; done | sed -n 's/^x-instance: //Ip' | sort | uniq -c |
        awk '{ print $2 ": " $1 }')
    [ "$(wc -l <<<"$seen")" = "$count" ] || {
        echo "$seen"
        return 1
    }
    paste -sd ' ' <<<"$seen"
}

# ---- Requests in the background ----

# Three clients with about 300 requests a second: enough to hit every short outage, and few enough for two cores.
begin_requests() {
    : >"$work/requests"
    touch "$work/running"
    for _ in 1 2 3; do
        while [ -e "$work/running" ] && kill -0 $$; do
            curl --silent --max-time 3 --write-out '%{http_code} %{time_total} %{errormsg}\n' \
                --output /dev/null --output /dev/null --output /dev/null --output /dev/null \
                "$base/data/1" "$base/data/2" "$base/data/3" "$base/data?limit=5" >>"$work/requests" || true
            sleep 0.03
        done 9>&- 2>/dev/null &
        loops+=($!)
    done
}

end_loops() {
    rm -f "$work/running"
    for loop in "${loops[@]}"; do wait "$loop" || true; done
    loops=()
}

# All of them answered 200.
no_failed_request() {
    local total bad slowest
    total=$(wc -l <"$work/requests")
    bad=$(grep -v '^200 ' "$work/requests" | sort | uniq -c || true)
    slowest=$(awk '$2 > slowest { slowest = $2 } END { printf "%d", slowest * 1000 }' "$work/requests")
    [ "$total" -gt 50 ] || {
        echo "only $total requests were made"
        return 1
    }
    [ -z "$bad" ] || {
        echo "of $total requests failed:"
        echo "$bad"
        return 1
    }
    echo "$total requests, the slowest $slowest ms"
}

# ---- Checks ----

# shellcheck source=deploy/e2e/safety.sh
source deploy/e2e/safety.sh

healthy() {
    local container states
    states=$(for container in $(containers "$@"); do inspect '{{.State.Health.Status}}' "$container"; done | sort | uniq -c)
    [[ $states =~ ^\ *[0-9]+\ healthy$ ]] || {
        echo "$states"
        return 1
    }
}

# Of every replica: a health check that began after $1 (in seconds since 1970) and was passed.
healthy_since() {
    local container
    for container in $(containers api); do
        inspect '{{range .State.Health.Log}}{{.Start.Unix}} {{.ExitCode}}{{println}}{{end}}' "$container" |
            awk -v since="$1" '$1 > since && $2 == 0 { passed = 1 } END { exit !passed }' || {
            echo "$container: $(inspect '{{json .State.Health}}' "$container")"
            return 1
        }
    done
}

restarted() { [ "$(inspect '{{.RestartCount}} {{.State.Running}}' "$1")" = '1 true' ]; }

# `docker kill` counts as a manual stop, after which the restart policy does nothing, and a signal from inside does not reach
# the first process of a container. So the signal is sent from the engine's process namespace, also for a remote engine.
crash() {
    local image
    image=$(inspect '{{.Config.Image}}' "$(containers postgres)")
    docker run --rm --pid host --network none --cap-drop ALL --cap-add KILL --user 0 --entrypoint sh "$image" \
        -c "kill -9 $(inspect '{{.State.Pid}}' "$1")"
}

only_nginx_is_published() {
    local container ports
    ports=$(for container in $(containers); do
        inspect '{{index .Config.Labels "com.docker.compose.service"}}{{range $port, $to := .NetworkSettings.Ports}}{{range $to}} {{$port}} at {{.HostIp}}{{end}}{{end}}' "$container"
    done | grep ' ')
    [ "$ports" = 'nginx 8080/tcp at 127.0.0.1' ] || {
        echo "$ports"
        return 1
    }
}

hardened() {
    local container got bad=0
    for container in $(containers); do
        got=$(inspect 'read-only {{.HostConfig.ReadonlyRootfs}}, without {{.HostConfig.CapDrop}}, {{.HostConfig.SecurityOpt}}' "$container")
        [ "$got" = 'read-only true, without [ALL], [no-new-privileges:true]' ] || { echo "$container: $got" && bad=1; }
        # The state in the kernel, not in the compose file.
        ! docker top "$container" -eo uid,pid,comm | awk 'NR > 1 && $1 == 0' | grep . || { echo "$container runs as root" && bad=1; }
    done
    return $bad
}

limited() {
    local container got
    for container in $(containers); do
        got=$(inspect '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' "$container")
        [[ $got =~ ^[1-9][0-9]*\ [1-9][0-9]*\ [1-9][0-9]*$ ]] || { echo "$container: memory, cpu, pids: $got" && return 1; }
    done
}

# From nginx, which clients can reach, the names of Postgres and Redis must not resolve.
edge_is_apart() { ! compose exec -T nginx curl --silent --max-time 2 "telnet://$1:$2" </dev/null; }

small() {
    local megabytes
    megabytes=$(($(docker image inspect --format '{{.Size}}' "$(inspect '{{.Config.Image}}' "$(containers api | sed -n 1p)")") / 1000000))
    echo "$megabytes MB"
    [ "$megabytes" -le 100 ]
}

records() {
    compose exec -T postgres sh -c 'psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -Atc "select count(*) from records"' </dev/null
}

has_setting() {
    local got
    got=$(compose run --rm --no-deps -T api config check </dev/null 2>/dev/null)
    grep -E "^$1 +$2 +set " <<<"$got" || { echo "$got" && return 1; }
}

logged_by_both() {
    local id=$1
    # Not `grep -q`: it would end the pipe early, which counts as a failure.
    compose logs --no-log-prefix nginx | grep "\"target\":\"nginx\",\"request_id\":\"$id\"" >/dev/null &&
        compose logs --no-log-prefix api | grep "\"request_id\":\"$id\"" >/dev/null
}

create_record() {
    local got
    got=$(answer /data --header 'content-type: application/json' --data '{"name":"kept","value":"over down and up"}')
    expect 201 '^location: /data/[0-9]+$' "$got" || return 1
    sed -n 's/^location: //Ip' <<<"$got" >"$work/location"
    cat "$work/location"
}

kept_record() { get 200 "$(cat "$work/location")" 'over down and up'; }

quick() {
    local limit_ms=$1 path=$2 took
    took=$(curl --silent --output /dev/null --max-time 5 --write-out '%{time_total}' "$base$path")
    took=$(awk -v s="$took" 'BEGIN { printf "%d", s * 1000 }')
    echo "$took ms"
    [ "$took" -le "$limit_ms" ]
}

# How many series an instant query has.
series_of() {
    local wanted=$1 got
    got=$(curl --silent --max-time 5 --get --data-urlencode "query=$2" "$prometheus/api/v1/query")
    [ "$(grep -o '"metric":' <<<"$got" | wc -l)" = "$wanted" ] || {
        echo "$got"
        return 1
    }
}

ended_well() {
    local container
    for container in $(compose ps --all --quiet api); do
        [ "$(inspect '{{.State.ExitCode}}' "$container")" = 0 ] || { inspect 'exit {{.State.ExitCode}}' "$container" && return 1; }
    done
}

# Runs an experiment on a stack of its own, which the lab starts from the same files and removes again.
holds() {
    local said
    said=$(cd "$work/clone" && "$lab" --state-dir "$work/lab" run "$1" --quick --allowance 25 --driver compose --out "$work/reports" 2>&1 9>&-) &&
        [ -s "$work/reports/index.html" ] && grep -o "^$1: HELD" <<<"$said" || {
        tail -n 20 <<<"$said"
        return 1
    }
}

# ---- The run ----

deploy/ensure-docker.sh
cargo build --quiet --package lab
remove_stack # of a run that was killed

bring_up() {
    quiet_compose up --detach --scale api=3
    find_port
}

note "docker compose up --scale api=3"
bring_up
check "the stack is ready at $base" within 30 get 200 /data/1 '"id":1[,}]'
check "three instances answer" instances 3
check "every container is healthy" within 20 healthy

check "only nginx has a published port, on loopback" only_nginx_is_published
check "root file systems are read-only, nobody is root, no capability is left" hardened
check "memory, CPU and processes of every container are limited" limited
check "the API's image has at most 100 MB" small
check "Postgres is not to be reached from the edge" edge_is_apart postgres 5432
check "Redis is not to be reached from the edge" edge_is_apart redis 6379
begin_listening
check "a replica reaches no address of the engine's machine, and nothing beyond" replica_cannot_get_out
docker rm --force --volumes "$project-listener" >/dev/null
check "every volume has a name" every_volume_has_a_name
check "every password is random" passwords_are_random
check "a replica knows its own passwords and no other" knows_only api api
check "nginx knows none" knows_only nginx ''
check "Redis knows those of Redis" knows_only redis redis
check "Postgres knows its superuser's" knows_only postgres postgres
check "the migration knows its own" knows_only migrate migrate
check "the replicas' role in Postgres owns nothing" role_is_small
check "/metrics is refused to the outside" problem 403 forbidden /metrics
check "an unknown id is 404" problem 404 not_found /data/999999999
answer /data/1 --header 'x-request-id: e2e.1' >/dev/null
check "a client's request id is in both logs" within 5 logged_by_both e2e.1
check "a record is created" create_record
before=$(records)

begin_requests
quiet_compose up --detach --no-deps --no-recreate --scale api=5 api
check "scaled to 5 under requests, five instances answer" within 15 instances 5
quiet_compose up --detach --no-deps --no-recreate --scale api=3 api
check "scaled back to 3, three instances answer" within 15 instances 3
end_loops
check "no GET failed while scaling" no_failed_request

check "no GET failed on a silent replica while the list of replicas changes" \
    "$work/clone/deploy/e2e/changing.py" "$(inspect '{{.Config.Image}}' "$(containers nginx)")"

victim=$(containers api | sed -n 1p)
begin_requests
crash "$victim"
check "a crashed replica is started again" within 15 restarted "$victim"
check "and answers again" within 20 instances 3
end_loops
check "no GET failed over the crash" no_failed_request

begin_requests
docker pause "$victim" >/dev/null
sleep 3 # how long it hangs, not a wait for something
docker unpause "$victim" >/dev/null
check "after a pause the replica answers again" within 15 instances 3
end_loops
check "no GET failed over the pause" no_failed_request

check "a client that asks too much is limited" one_client_is_limited
check "by a problem that says when to come back" refused_as_a_problem
check "and served again" within 5 get 200 /data/1 '"id":1[,}]'
check "the replicas' user in Redis may do what they do, and no more" user_is_small

begin_requests
quiet_compose stop --timeout 3 redis
check "without Redis /data is served" within 5 get 200 /data/1 '"id":1[,}]'
check "and /health warns with 200" within 5 get 200 /health '"status":"warn"'
quiet_compose start redis
check "Redis is used again" within 10 get 200 /data/1 '^cache-status: redis; hit'
check "and /health passes" within 10 get 200 /health '"status":"pass"'
end_loops
check "no GET failed without Redis" no_failed_request

quiet_compose stop --timeout 10 postgres
stopped=$(date +%s)
check "without Postgres /health fails with 503" within 5 get 503 /health '"status":"fail"'
check "a cached id is served" get 200 /data/1 '^cache-status: redis; hit'
check "an uncached id is 503" problem 503 'database_unavailable|database_timeout' /data/901
check "and that in bounded time" quick 1000 /data/902
check "the replicas stay alive" get 200 /livez .
check "and healthy" within 10 healthy_since "$stopped"
quiet_compose start postgres
check "Postgres is used again" within 20 get 200 /data/903 '"id":903[,}]'
check "and /health passes" within 10 get 200 /health '"status":"pass"'

note "docker compose --profile observability up, without Grafana"
observed() { quiet_compose --profile observability "$@"; }
observed up --detach --no-recreate prometheus
prometheus=http://$(compose --profile observability port prometheus 9090)
check "Prometheus watches three replicas by name" within 60 series_of 3 'sum by (instance) (rate(http_requests_total[30s]))'
check "each series has the replica's name and address" within 10 series_of 3 'count by (instance, address) (dependency_up{dependency="redis",instance!~".*:8000"})'
check "and reads its rules" within 10 series_of 1 'job:data_requests:rate30s'
observed up --detach --no-deps --no-recreate --scale api=4 api
check "a fourth replica is found" within 20 series_of 4 'up{job="api"} == 1'
observed up --detach --no-deps --no-recreate --scale api=3 api
check "and forgotten" within 20 series_of 3 'up{job="api"}'
victim=$(containers api | sed -n 1p)
crash "$victim"
check "a restarted replica is found again" within 20 series_of 3 'up{job="api"} == 1'
quiet_compose stop --timeout 10 postgres
check "a stopped Postgres raises its alert" within 30 series_of 1 'ALERTS{alertname="DependencyDown",alertstate="firing",dependency="postgres"}'
quiet_compose start postgres
check "which ends when it is back" within 30 series_of 0 'ALERTS{alertname="DependencyDown",dependency="postgres"}'
check "Prometheus is hardened and limited like the rest" hardened
check "and published on loopback only" grep -q '^http://127\.0\.0\.1:' <<<"$prometheus"
observed rm --force --stop prometheus 2>/dev/null

quiet_compose stop --timeout 15 api
check "stopped replicas end with 0" ended_well
quiet_compose down --timeout 10
note "docker compose down, then up with a .env"
printf '%s\n' CACHE_FRESH=29s MAX_CONNECTIONS=1000 >"$work/clone/.env"
export CLIENT_LIMITS=off
bring_up
check "the record outlived down and up" within 30 kept_record
check "no demo record was made twice" test "$(records)" = "$before"
check "no password was made twice" test "$(passwords)" = "$(cat "$work/passwords")"
check "a variable of the API is taken from .env" has_setting CACHE_FRESH 29s
check "and so is any other" has_setting MAX_CONNECTIONS 1000
check "CLIENT_LIMITS=off limits nobody" nobody_is_limited
unset CLIENT_LIMITS

note "a volume of an earlier version, and lost passwords"
age
bring_up
check "the record outlived that" within 30 kept_record
check "the passwords are new" new_passwords
check "the role owns nothing again" role_is_small

quiet_compose down --timeout 10
note "lab run redis-kill --driver compose"
check "Redis is killed under load, and every hypothesis holds" holds redis-kill
check "nothing of that stack is left" test ! -e "$work/lab-run"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || exit 1
