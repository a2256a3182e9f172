"""The figures of a run as a page."""

import os
import platform

from traffic import RATE, RECORDS


def page(record, engine, total, short):
    rows = "\n".join(f"| {what} | {seconds:.1f} |" for what, seconds in record.figures)
    reads = "\n".join(
        f"| {step} | {sent} | {failures} | {slow} | {slowest:.0f} |" for step, sent, failures, slow, slowest in record.traffic
    )
    explained = "".join(f"\n- {line}" for line in record.failures) + ("\n" if record.failures else "")
    unmet = "".join(f"\n- did not hold: {text}" for text in record.failed) or "\nEvery condition held."
    return f"""# The stack on a Swarm of three nodes

Each step's times count from its fault or command; [docs/swarm.md](../../docs/swarm.md) says what the steps are.

| step | seconds |
| --- | ---: |
{rows}

| reads under load | sent | failed | above 200 ms | slowest [ms] |
| --- | ---: | ---: | ---: | ---: |
{reads}
{explained}{unmet}

Recorded by `make swarm{"-short" if short else ""}` in {total:.0f} s: three Docker engines {engine} in network namespaces of one
machine with {os.cpu_count()} cores ({processor()}), Linux {platform.release().partition("-")[0]}. Reads: {RATE} a second
to each node that clients can reach, of {RECORDS} records at random.
"""


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
