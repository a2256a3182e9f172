"""What the reads of a step came to: how many failed, and what nginx says of each."""

import json

# Lines about failed reads.
SHOWN = 8
# A larger share of late reads says that the machine had no time for the load generator, and so none for the stack: its time limits
# end requests then. `load` itself calls such a run invalid.
TOO_BUSY = 0.05


def judge(cluster, record, step, traffic, at, allowed):
    """`at` is when the fault began, in seconds since 1970; at most `allowed` reads may have failed."""
    record.check(f"{step}: the load began before", traffic.started < at)
    record.requests(step, traffic)
    for code, count in traffic.codes.items():
        record.failure(f"{step}: {count} × {code}")
    concerned = {failure.node for failure in traffic.failures}
    explained = [line for node in concerned for line in refused(cluster, node, traffic.started)]
    for failure in traffic.failures[:SHOWN]:
        record.failure(f"{step}: failed {failure.at - at:+.2f} s by {failure.node.name}: {failure.what}")
    for line in explained[:SHOWN]:
        record.failure(line)
    if len(explained) < len(traffic.failures):
        record.failure(f"{len(traffic.failures) - len(explained)} without an answer of nginx")
    if len(traffic.failures) > allowed and traffic.late_share() > TOO_BUSY:
        late = f"{traffic.late_share():.0%} of the reads were sent late"
        record.not_judged(f"{step}: {len(traffic.failures)} failed reads, but the machine is too busy to judge them: {late}")
    else:
        record.check(f"{step}: at most {allowed} failed reads", len(traffic.failures) <= allowed)


def refused(cluster, node, since):
    """The requests that nginx, or a replica behind it, answered with 5xx, or that ended without an answer, in words."""
    for line in cluster.proxy_log(node, since):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line of the error log
        if entry["status"] >= 500 or entry["status"] == 0:
            yield (
                f"nginx of {node.name}, {entry['timestamp']}: {entry['status']} after {entry['duration_s']} s; asked"
                f" {entry['upstream']}, which answered {entry['upstream_status']} in {entry['upstream_duration_s']} s"
            )
