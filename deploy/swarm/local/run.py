#!/usr/bin/env python3
"""The stack on a real Swarm of three nodes on this machine: it loses a node, is updated, rolled back, scaled and cut apart, under
load, and what clients notice is counted. docs/swarm.md.

usage: deploy/swarm/local/run.py [--short] [--load PROGRAM] [--report FILE] | --check

  --check         only say whether this machine can do it
  --short         a power cut and a rolling update only, for CI; on a machine that is too busy to send the reads on time it
                  passes without a verdict on them, where the whole run ends with 2
  --load PROGRAM  the load generator (default: target/release/load)
  --report FILE   write the figures as a page

Needs root, Docker 20.10 or newer, and iproute2. Exit codes: 0 everything held, 1 something did not, 2 wrong usage or an invalid
run, 130 interrupted. Everything it makes is removed at its end, and what a run that crashed has left at the next start.
"""

import argparse
import os
import pathlib
import signal
import sys
import traceback

sys.dont_write_bytecode = True
import images
import leftovers
import machine
import report
from cluster import Cluster, make_secrets
from names import LAN, PREFIX, STATE
from node import Node, lay_network
from process import Failed, run
from record import Record
from steps import Steps
from waiting import Late

ROOT = pathlib.Path(__file__).resolve().parents[3]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal that asks for the end."""


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2], add_help=False)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--load", type=pathlib.Path, default=ROOT / "target/release/load")
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("-h", "--help", action="store_true")
    given = parser.parse_args()
    if given.help:
        print(__doc__)
        sys.exit(0)
    if not given.check and not os.access(given.load, os.X_OK):
        parser.error(f"no load generator at {given.load}: cargo build --release -p loadgen")
    return given


def demonstrate(given, record):
    wanted = images.prepare(ROOT, record.note)
    # The time it takes counts from here.
    record.restart()
    STATE.mkdir(mode=0o700)
    # In memory: fast, nothing of it survives the machine, and the engines' storage needs no particular file system.
    run("mount", "-t", "tmpfs", "-o", f"size={machine.MEMORY_MB}m,mode=0700", PREFIX + "state", str(STATE))
    secrets = make_secrets(ROOT, STATE / "secrets")
    lay_network()
    nodes = [Node(number) for number in (1, 2, 3)]
    with record.measure("three engines answer"):
        for node in nodes:
            node.start()
        for node in nodes:
            node.until_up()
    with record.measure("images loaded into each"):
        images.load(nodes, wanted)
    machine.enter(LAN)
    cluster = Cluster(ROOT, nodes, wanted, secrets)
    with record.measure("one manager and two workers ready"):
        cluster.form()

    steps = Steps(cluster, str(given.load.resolve()), record)
    chosen = [steps.answers, steps.power_cut, steps.rolling_update]
    if not given.short:
        chosen += [steps.rollback, steps.scaling, steps.partition]
    try:
        for step in chosen:
            step()
    except Late as late:
        record.check(str(late), False)
        for line in cluster.describe():
            record.note(line)


def verdict(record, short):
    """The exit code, and its meaning."""
    if record.failed:
        return 1, f"{len(record.failed)} conditions did not hold"
    if record.unjudged:
        return 0 if short else 2, f"everything else held, but {len(record.unjudged)} of the steps' reads could not be judged"
    return 0, "held"


def interrupt(number, _frame):
    raise Interrupted(signal.Signals(number).name)


def clean_up(record):
    """Also when a signal comes again. Whether everything is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        leftovers.remove()
    except (Failed, OSError) as failed:
        record.line("FAIL", f"something is left, which the next run removes: {failed}")
        return False
    images.forget()
    record.note("engines, namespaces, control groups and files removed")
    return True


def main():
    given = arguments()
    record = Record()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        machine.check()
        if given.check:
            return 0
        lock = machine.lock()
        engine = machine.engine_version()
        found = leftovers.remove()
    except Failed as failed:
        print(f"swarm: {failed}", file=sys.stderr)
        return 2
    except Interrupted:
        return 130
    if found:
        record.note(f"removed what an earlier run has left: {', '.join(found)}")
    code, said = 2, "no result"
    try:
        demonstrate(given, record)
        code, said = verdict(record, given.short)
    except Failed as failed:
        record.line("FAIL", str(failed))
    except Exception:  # a fault of this program is no verdict about the stack
        traceback.print_exc()
    except Interrupted as interrupted:
        code, said = 130, f"interrupted by {interrupted}"
    finally:
        total = record.elapsed()
        if not clean_up(record):
            code, said = 2, "not everything could be removed"
        lock.close()
    if given.report and code in (0, 1) and not record.unjudged:
        given.report.write_text(report.page(record, engine, total, given.short))
    print(f"swarm: {said}, {total:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
