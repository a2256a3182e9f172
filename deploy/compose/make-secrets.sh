#!/bin/sh
# Generates the stack's passwords. It runs first at each `docker compose up`, and never changes existing ones.
#
# Each folder is a volume, and is mounted only where its passwords are used. The mounts keep the passwords apart, whatever
# user ids the images have, so the files themselves may be readable by all users. To change a password, delete its file (or write
# another one into it) and start the stack again: docs/docker.md.
set -eu
umask 022
cd "${1:-/secrets}"

# 192 random bits from the kernel, as hexadecimal digits. Written atomically, because a start may be interrupted.
password() {
    [ -s "$1" ] && return
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$1.new"
    mv "$1.new" "$1"
    echo "made a password: $1"
}

password postgres/superuser-password
password migrate/database-password
password api/database-password
password api/redis-password
password redis/admin-password

# Redis gets hashes. The rules are written each time, because they may have changed with the project.
hash() { tr -d '\r\n' <"$1" | sha256sum | cut -d ' ' -f 1; }
{
    echo 'user default off'
    echo "user admin on #$(hash redis/admin-password) ~* &* +@all"
    echo "user app on #$(hash api/redis-password) $(grep -v '^#' "${2:-/rules/app.acl}" | tr '\n' ' ')"
} >redis/users.acl.new
mv redis/users.acl.new redis/users.acl
