"""The images: built on the machine's own engine when they are missing, and loaded into the nodes, which can pull nothing."""

import subprocess

from names import STATE
from process import Failed, run

FILE = "deploy/images/offline.env"
# The images of each service, by the variables of stack.yaml. Only the first node has Postgres.
EVERYWHERE = ("API_IMAGE", "NGINX_IMAGE", "REDIS_IMAGE")
# Two more versions of the API: the same program, and one whose health check always fails, with the usual times.
NEXT = "phase-observation/api:swarm-next"
UNHEALTHY = "phase-observation/api:swarm-unhealthy"
VERSIONS = {
    NEXT: "LABEL release=next",
    UNHEALTHY: 'HEALTHCHECK --interval=2s --timeout=2s --start-period=10s --retries=3 CMD ["api", "no-such-command"]',
}


def names(root):
    """The images' names by their variables, as Compose uses them without a registry."""
    lines = (root / FILE).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def missing(wanted):
    """Which of the images the machine's engine does not have."""

    def absent(image):
        try:
            run("docker", "image", "inspect", "--format", "{{.Id}}", image)
        except Failed as failed:
            if "No such image" in str(failed):
                return True
            raise
        return False

    return [image for image in wanted if absent(image)]


def prepare(root, say):
    """Builds what is missing, and the further versions of the API. Returns the names."""
    given = names(root)
    wanted = {name: image for name, image in given.items() if name != "PROMETHEUS_IMAGE"}
    absent = missing(wanted.values())
    if absent:
        say(f"no image {', '.join(absent)}: deploy/images/build.sh, some minutes the first time")
        services = [name.removesuffix("_IMAGE").lower() for name, image in wanted.items() if image in absent]
        run(str(root / "deploy/images/build.sh"), *services, limit=1800)
    for version, line in VERSIONS.items():
        text = f"FROM {wanted['API_IMAGE']}\n{line}\n"
        run("docker", "build", "--quiet", "--tag", version, "-", text=text, limit=60)
    return wanted


def forget():
    """Removes the further versions, which are of no use to anyone else. The other images stay, for the next time."""
    try:
        run("docker", "image", "rm", *VERSIONS)
    except Failed:
        pass  # Not made yet, or no engine: there is nothing to remove then.


def load(nodes, wanted):
    """Copies the images into every node's engine, all at once."""
    everywhere = [wanted[name] for name in EVERYWHERE] + list(VERSIONS)
    copies = []
    for node in nodes:
        images = everywhere + ([wanted["POSTGRES_IMAGE"]] if node.number == 1 else [])
        saving = subprocess.Popen(["docker", "save", *images], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with open(STATE / f"{node.name}.load", "wb") as log:
            loading = subprocess.Popen(
                ["docker", "--host", f"unix://{node.folder}/docker.sock", "load"],
                stdin=saving.stdout,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        saving.stdout.close()
        copies.append((node, saving, loading))
    try:
        for node, saving, loading in copies:
            if loading.wait(180) != 0 or saving.wait(10) != 0:
                raise Failed(f"docker load into {node.name}: {(STATE / f'{node.name}.load').read_text()[-300:]}")
    except subprocess.TimeoutExpired as late:
        raise Failed(f"no answer within {late.timeout:.0f} s: {' '.join(late.cmd)}") from None
    finally:
        for _, saving, loading in copies:
            saving.kill()
            loading.kill()
