#!/usr/bin/env bash
# Puts faults back, one at a time, and lets a recorded history find each of them. Every *.patch here takes one mechanism
# out of the API; its text says which, and which faults a history is aimed at. The API as it is has to hold under the same
# schedules. Writes a table to the file that is given, or to standard output.
#
# Usage: run.sh [--seeds "1 2 3"] [--out FILE] [--keep DIR] [PATCH-NAME...]
# --keep: the histories in which the API as it is broke a promise are kept there, with the calls that prove it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
seeds="1 2 3"
out=/dev/stdout
keep=
names=()
while (($#)); do
    case $1 in
        --seeds) seeds=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        --keep) keep=$2; shift 2 ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "run.sh: unknown option $1" >&2; exit 64 ;;
        *) names+=("$1"); shift ;;
    esac
done
if ((${#names[@]} == 0)); then
    for patch in "$here"/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

work=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$work/source" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$root"
cargo build -q -p api -p lab
cp target/debug/api "$work/api-as-it-is"
cp target/debug/lab "$work/lab"
git worktree add -q --detach "$work/source" HEAD
# One target folder for all: only the API itself is compiled again.
export CARGO_TARGET_DIR="$work/target"

# history API ARGUMENTS... : the exit code of the history, its table in $work/said.
history() {
    local api=$1 code=0
    shift
    rm -rf "$work/history.ndjson"
    "$work/lab" --state-dir "$work/stack" history --api-bin "$api" --out "$work/history.ndjson" "$@" \
        >"$work/said" 2>"$work/log" || code=$?
    return "$code"
}

# The promises that were broken, as the table names them.
broken() { sed -n 's/^\(.*[^ ]\)  *broken \([0-9]*\) times$/\1 (\2)/p' "$work/said" | paste -sd ';' | sed 's/;/; /g'; }

# What the API as it is did under an aim and a seed: several patches share one.
declare -A as_it_is=()

missed=0
{
    echo '| taken out | history | as it is | without it |'
    echo '| --- | --- | --- | --- |'
} >"$work/table"
for name in "${names[@]}"; do
    patch="$here/$name.patch"
    [[ -f $patch ]] || { echo "run.sh: there is no $name.patch" >&2; exit 64; }
    read -r -a aim <<<"$(sed -n 's/^history: //p' "$patch")"
    says=$(head -n 1 "$patch")
    git -C "$work/source" checkout -q -- .
    git -C "$work/source" apply "$patch" || { echo "run.sh: $name.patch does not apply any more" >&2; exit 1; }
    (cd "$work/source" && cargo build -q -p api)
    found=''
    for seed in $seeds; do
        echo "$name, seed $seed: ${aim[*]}" >&2
        code=0
        history "$CARGO_TARGET_DIR/debug/api" --seed "$seed" "${aim[@]}" || code=$?
        if ((code == 1)) && [[ -n $(broken) ]]; then
            found="seed $seed: $(broken)"
            break
        elif ((code != 0)); then
            tail -n 5 "$work/log" >&2
        fi
    done
    if [[ -z $found ]]; then
        found="NOT FOUND with the seeds $seeds"
        missed=1
        seed=${seeds%% *}
    fi
    held=${as_it_is["$seed ${aim[*]}"]:-}
    if [[ -z $held ]]; then
        echo "$name, seed $seed: the API as it is" >&2
        code=0
        history "$work/api-as-it-is" --seed "$seed" "${aim[@]}" || code=$?
        case $code in
            0) held=held ;;
            1)
                held="BROKEN: $(broken)"
                missed=1
                if [[ -n $keep ]]; then
                    mkdir -p "$keep"
                    cp "$work/history.ndjson" "$keep/$name.ndjson"
                    cp "$work/said" "$keep/$name.txt"
                fi
                ;;
            *) held="proves nothing: $(tail -n 1 "$work/log")"; missed=1 ;;
        esac
        as_it_is["$seed ${aim[*]}"]=$held
    fi
    echo "| \`$name\`: $says | \`${aim[*]}\` | $held | $found |" >>"$work/table"
    tail -n 1 "$work/table" >&2
done
{
    echo '# Faults that are put back'
    echo
    echo "Recorded by \`make put-back\` with debug builds on $(nproc) cores; the seeds are those of the first history that found the fault."
    echo
    cat "$work/table"
} >"$out"
exit "$missed"
