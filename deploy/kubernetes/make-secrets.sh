#!/usr/bin/env bash
# Prints the Secrets that the manifests name, and the Namespace they are in:
#
#   deploy/kubernetes/make-secrets.sh FOLDER | kubectl apply -f -
#
# The passwords are files in FOLDER, which is made when it is missing. One that is there is kept, so the same folder gives the
# same Secrets: keep it where you keep passwords, or keep them elsewhere and delete it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || {
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
folder=$1

(umask 077 && mkdir -p "$folder")
mkdir -p "$folder"/{postgres,migrate,api,redis}
sh "$here/../compose/make-secrets.sh" "$folder" "$here/../redis/app.acl" >&2

# NAME TYPE [KEY FILE|=TEXT]…
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: observation\n' "$1"
    # CloudNativePG sets a new password when such a Secret changes.
    case $1 in database-*) printf '  labels: { cnpg.io/reload: "true" }\n' ;; esac
    printf 'type: %s\ndata:\n' "$2"
    shift 2
    while [ $# -gt 0 ]; do
        case $2 in
        =*) printf '  %s: %s\n' "$1" "$(printf %s "${2#=}" | base64 | tr -d '\n')" ;;
        *) printf '  %s: %s\n' "$1" "$(base64 <"$folder/$2" | tr -d '\n')" ;;
        esac
        shift 2
    done
}

cat "$here/base/namespace.yaml"
secret database-superuser kubernetes.io/basic-auth username =observer password postgres/superuser-password
secret database-migrator kubernetes.io/basic-auth username =migrator password migrate/database-password
secret database-app kubernetes.io/basic-auth username =app password api/database-password
secret redis-app Opaque password api/redis-password
secret redis-server Opaque admin-password redis/admin-password users.acl redis/users.acl
