#!/usr/bin/env python3
"""Whether a request survives a replica that is silent while the list of replicas changes.

usage: deploy/e2e/changing.py IMAGE

nginx of the given image runs with the stack's own configuration. Its name server is here, and gives it another list of replicas at
each question; so are the replicas, one of which takes requests and never answers. nginx notices the silence after 1 s and looks for
another replica, but a request knows only the list that it began with. Requests go on until one had to be sent anew for that reason.
Exit codes: 0 every GET was answered, 1 one was not, 2 nginx did not run or the case did not come about.
"""

import collections
import http.client
import http.server
import json
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SILENT, ALWAYS, SOMETIMES = "127.0.0.2", "127.0.0.3", "127.0.0.4"
WANTED = 1
LIMIT_S = 90
NAME = "phase-observation-changing"


class Replica(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def serve_names(server):
    """Every name has two addresses, and at every second question a third. They are valid for longer than nginx keeps them."""
    for number in range(sys.maxsize):
        question, client = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
        addresses = [SILENT, ALWAYS] + [SOMETIMES] * (number % 2) if kind == 1 else []
        head = question[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, len(addresses), 0, 0)
        records = (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 600, 4) + socket.inet_aton(address) for address in addresses)
        server.sendto(head + question[12:end] + b"".join(records), client)


def in_background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def start_replicas():
    """All on one port, which every loopback address has free. The silent one accepts and reads nothing."""
    first = http.server.ThreadingHTTPServer((ALWAYS, 0), Replica)
    port = first.server_address[1]
    for server in (first, http.server.ThreadingHTTPServer((SOMETIMES, port), Replica)):
        in_background(server.serve_forever)
    return port, socket.create_server((SILENT, port), backlog=1000)


def configure(folder, names_port, replicas_port, port):
    """The files of the compose stack, with this machine's ports in place of Docker's names."""
    driver = shutil.copytree(ROOT / "nginx/compose", folder / "driver")
    changes = {
        "http.conf": [
            ("127.0.0.1 0;", "127.0.0.1 1;"),  # these are no health checks: they are logged
            # Once a second: within each silence the list changes.
            ("127.0.0.11 valid=2s", f"127.0.0.1:{names_port} valid=1s"),
            ("/etc/nginx/limits.conf", "/etc/nginx/driver/limits-off.conf"),
        ],
        "listen.conf": [("listen 8080", f"listen 127.0.0.1:{port}")],
        "servers.conf": [("api:8000", f"api:{replicas_port}")],
    }
    for name, texts in changes.items():
        text = (driver / name).read_text()
        for old, new in texts:
            if old not in text:
                sys.exit(f"nginx/compose/{name} has no {old}")
            text = text.replace(old, new)
        (driver / name).write_text(text)
    return driver


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def ask(port, statuses):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/data/1")
        statuses.append(connection.getresponse().status)
    except OSError as error:
        statuses.append(type(error).__name__)
    finally:
        connection.close()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))
    in_background(serve_names, names)
    replicas_port, _silent = start_replicas()
    port = free_port()
    statuses, anew = [], 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        driver = configure(folder, names.getsockname()[1], replicas_port, port)
        command = ["docker", "run", "--rm", "--name", NAME, "--network", "host", "--user", "nginx", "--cap-drop", "ALL"]
        command += ["--volume", f"{driver}:/etc/nginx/driver:ro", "--volume", f"{ROOT}/nginx/nginx.conf:/etc/nginx/nginx.conf:ro"]
        nginx = subprocess.Popen([*command, sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            lines = collections.deque()
            in_background(lambda: lines.extend(iter(nginx.stdout.readline, "")))
            end = time.monotonic() + LIMIT_S
            until_up(nginx, port, end)
            while anew < WANTED and time.monotonic() < end:
                in_background(ask, port, statuses)
                time.sleep(0.05)  # the rate of the requests
                while lines:
                    line = lines.popleft()
                    # Asked once, and then the group as a whole: that is how nginx logs that it knew no other replica.
                    anew += line.startswith("{") and ", api" in json.loads(line)["upstream"]
        finally:
            subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, timeout=20, check=False)
            nginx.wait(20)
    failed = collections.Counter(status for status in statuses if status != 200)
    if anew < WANTED:
        print(f"only {anew} requests met a changed list within {LIMIT_S} s")
        return 2
    print(f"{len(statuses)} GETs, {anew} of them sent anew" + (f", failed: {dict(failed)}" if failed else ""))
    return 1 if failed else 0


def until_up(nginx, port, end):
    while time.monotonic() < end:
        if nginx.poll() is not None:
            sys.exit("nginx did not start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("nginx does not listen")


if __name__ == "__main__":
    sys.exit(main())
