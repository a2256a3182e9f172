#!/usr/bin/env python3
"""Writes dashboards/*.json with Grafana's own schema (the package grafana-foundation-sdk).

    python3 -m venv /tmp/grafana && /tmp/grafana/bin/pip install -r deploy/grafana/requirements.txt
    /tmp/grafana/bin/python deploy/grafana/generate.py [--check]

--check writes nothing and exits with 1 when a file is not what would be written.
"""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")
DATA = 'job="api",http_route=~"/data.*"'
REPLICA = 'job="api",instance=~"$instance"'


def query(expr, legend="", instant=False):
    target = prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").datasource(SOURCE)
    return target.instant() if instant else target.range()


def graph(title, what, unit, *queries, span=12, stacked=False, top=None, line=None):
    """A line for each series; `line` is where it gets bad."""
    panel = (
        timeseries.Panel().title(title).description(what).unit(unit).datasource(SOURCE).span(span).height(8).min(0)
        .line_width(1.5).fill_opacity(8).show_points(common_models.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST)
                .placement(common_models.LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
                 .sort(common_models.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if top is not None:
        panel.max(top)
    if line is not None:
        panel.thresholds(steps(("green", None), ("red", line)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    for expr, legend in queries:
        panel.with_target(query(expr, legend))
    return panel


def figure(title, what, unit, expr, *colours, span=4, legend=""):
    """One number, or one per series."""
    return (
        stat.Panel().title(title).description(what).unit(unit).datasource(SOURCE).span(span).height(4)
        .thresholds(steps(*colours)).graph_mode(common_models.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).with_target(query(expr, legend))
    )


def steps(*colours):
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(
        [models.Threshold(color=colour, value=value) for colour, value in colours])


def board(uid, title, what, *rows, instance=False):
    made = (
        dashboard.Dashboard(title).uid(uid).description(what).tags(["phase-observation"]).timezone("browser")
        .refresh("5s").time("now-15m", "now").editable().tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("All of them").type(models.DashboardLinkType.DASHBOARDS)
              .tags(["phase-observation"]).keep_time(True))
    )
    if instance:
        made.with_variable(
            dashboard.QueryVariable("instance").label("Replica").datasource(SOURCE)
            .query('label_values(build_info{job="api"}, instance)').refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC))
    for heading, panels in rows:
        made.with_row(dashboard.Row(heading))
        for panel in panels:
            made.with_panel(panel)
    built = made.build()
    for number, panel in enumerate(built.panels, 1):
        panel.id_val = number
    return built


GOOD_RATIO = (("red", None), ("orange", 0.95), ("green", 0.999))

OVERVIEW = board(
    "overview", "Overview", "The four golden signals of the whole stack: latency, traffic, errors, saturation.",
    ("Now", [
        figure("Requests", "Requests to /data per second, over all replicas.", "reqps", "sum(job:data_requests:rate30s)",
               ("text", None)),
        figure("Failing", "Share of them that end with a 5xx.", "percentunit", "job:data_errors:ratio_rate30s",
               ("green", None), ("orange", 0.001), ("red", 0.05)),
        figure("p95", "95 % take at most this long. Agreed are 320 ms.", "s", "job:data_duration_seconds:p95_rate30s",
               ("green", None), ("orange", 0.2), ("red", 0.32)),
        figure("Replicas", "That answer their scrape.", "short", 'count(up{job="api"} == 1)',
               ("red", None), ("orange", 2), ("green", 3)),
        figure("Cache hits", "Share of the reads that the cache answers, old entries included.", "percentunit",
               "job:cache_hit:ratio_rate30s", ("orange", None), ("green", 0.5)),
        figure("Alerts", "Firing, any severity.", "short", 'count(ALERTS{alertstate="firing"}) or vector(0)',
               ("green", None), ("red", 1)),
    ]),
    ("Latency", [
        graph("Good answers", "How long answers without a 5xx take. An error is quick and would make these look better.", "s",
              *[(f'histogram_quantile({q}, sum by (le) (rate(http_server_request_duration_seconds_bucket{{{DATA},'
                 f'http_response_status_code!~"5..|499"}}[30s])))', f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)], line=0.32),
        graph("Errors", "How long a 5xx takes: an outage must not hang.", "s",
              *[(f'histogram_quantile({q}, sum by (le) (rate(http_server_request_duration_seconds_bucket{{{DATA},'
                 f'http_response_status_code=~"5.."}}[30s])))', f"p{int(q * 100)}") for q in (0.5, 0.95)], line=0.3),
    ]),
    ("Traffic and errors", [
        graph("Requests by route", "Probes and scrapes included.", "reqps",
              ("sum by (http_route) (instance_route:http_requests:rate30s)", "{{http_route}}"), stacked=True),
        graph("What does not go well", "By code; the runbook HighErrorRatio has a page for each.", "reqps",
              ('sum by (code) (rate(http_requests_total{job="api",code!=""}[30s])) > 0', "{{code}}"), stacked=True),
    ]),
    ("Saturation", [
        graph("Places taken", "Requests in flight against the limit of a replica. At 100 % the next one is refused.", "percentunit",
              ("instance:admission:utilisation", "{{instance}}"), top=1, line=0.8, span=8),
        graph("Connections to Postgres", "In use, against the pool's size.", "percentunit",
              ("instance:postgres_pool:utilisation", "{{instance}}"), top=1, line=0.9, span=8),
        graph("Refused", "Share of the requests to /data that were refused before any work.", "percentunit",
              ("instance:requests_shed:ratio_rate30s", "{{instance}}"), span=8),
    ]),
)

REPLICAS = board(
    "replicas", "One replica against the others", "Choose one above; 'the others' is their mean.",
    ("Requests", [
        graph("Traffic", "nginx sends a request where fewest are in flight: a slow replica gets less.", "reqps",
              (f"sum by (instance) (rate(http_requests_total{{{REPLICA}}}[30s]))", "{{instance}}"),
              ('avg(sum by (instance) (rate(http_requests_total{job="api",instance!~"$instance"}[30s])))', "the others")),
        graph("p95", "Of /data.", "s",
              (f'histogram_quantile(0.95, sum by (instance, le) (rate(http_server_request_duration_seconds_bucket{{{REPLICA},'
               'http_route=~"/data.*"}[30s])))', "{{instance}}"),
              ('histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket{job="api",'
               'instance!~"$instance",http_route=~"/data.*"}[30s])))', "the others"), line=0.32),
        graph("Failing", "Share of its requests that end with a 5xx.", "percentunit",
              (f"sum by (instance) (instance_route:http_errors:rate30s{{instance=~\"$instance\"}}) / "
               f"sum by (instance) (instance_route:http_requests:rate30s{{instance=~\"$instance\"}})", "{{instance}}"),
              ('sum(instance_route:http_errors:rate30s{instance!~"$instance"}) / '
               'sum(instance_route:http_requests:rate30s{instance!~"$instance"})', "the others")),
        graph("In flight", "All routes.", "short", (f"http_server_active_requests{{{REPLICA}}}", "{{instance}}"),
              ('avg(http_server_active_requests{job="api",instance!~"$instance"})', "the others")),
    ]),
    ("Process", [
        graph("CPU", "Cores.", "short", (f"instance:cpu_seconds:rate30s{{instance=~\"$instance\"}}", "{{instance}}"),
              ('avg(instance:cpu_seconds:rate30s{instance!~"$instance"})', "the others"), span=8),
        graph("Memory", "Resident. A line that only climbs is a leak.", "bytes",
              (f"process_resident_memory_bytes{{{REPLICA}}}", "{{instance}}"),
              ('avg(process_resident_memory_bytes{job="api",instance!~"$instance"})', "the others"), span=8),
        graph("Age", "Time since its start: a drop is a restart.", "s",
              (f"time() - process_start_time_seconds{{{REPLICA}}}", "{{instance}}"),
              ('min(time() - process_start_time_seconds{job="api",instance!~"$instance"})', "the youngest of the others"), span=8),
        graph("Answers its scrape", "1 yes, 0 no. Under Docker by address.", "short", ('up{job="api"}', "{{instance}}"), top=1),
        graph("Connections of clients", "Mostly nginx's.", "short", (f"http_server_connections{{{REPLICA}}}", "{{instance}}"),
              ('avg(http_server_connections{job="api",instance!~"$instance"})', "the others")),
    ]),
    instance=True,
)

DEPENDENCIES = board(
    "dependencies", "Dependencies and fallbacks", "What Postgres and Redis do, and what is done without them.",
    ("Are they there?", [
        graph("Up", "As the replicas' probers see it: 1 all of them, 0 none.", "short",
              ('avg by (dependency) (dependency_up{job="api"})', "{{dependency}}"), top=1),
        graph("Breakers", "0 closed, 1 half-open, 2 open: the worst of the replicas.", "short",
              ('max by (dependency) (breaker_state{job="api"})', "{{dependency}}"), top=2),
    ]),
    ("Calls", [
        graph("Outcomes", "breaker_open: it was not asked.", "reqps",
              ("dependency_outcome:dependency_requests:rate30s", "{{dependency}} {{outcome}}")),
        graph("p95", "Of the calls that were made.", "s",
              ("dependency:dependency_request_duration_seconds:p95_rate30s", "{{dependency}}")),
        graph("Further attempts", "By how they ended, or why there was none.", "reqps",
              ('sum by (dependency, outcome) (rate(retries_total{job="api"}[30s]))', "{{dependency}} {{outcome}}")),
        graph("Connections", "Of all replicas.", "short",
              ('sum by (dependency, state) (pool_connections{job="api"})', "{{dependency}} {{state}}")),
    ]),
    ("Fallbacks", [
        graph("What the cache said", "stale: an old entry was served, because Postgres did not answer. bypass: Redis did not.", "reqps",
              ("sum by (result) (instance_result:cache_requests:rate30s)", "{{result}}"), stacked=True),
        graph("Shared reads", "Reads that waited for another one's read of Postgres instead of making their own.", "reqps",
              ('sum(rate(collapsed_reads_total{job="api"}[30s]))', "shared")),
        graph("Writes to the cache", "superseded: a newer version was there already.", "reqps",
              ('sum by (result) (rate(cache_writes_total{job="api"}[30s]))', "{{result}}")),
        graph("Answers for want of a dependency", "503 to the client.", "reqps",
              ('sum by (code) (rate(http_requests_total{job="api",code=~"database_.*|deadline_exceeded"}[30s]))', "{{code}}")),
    ]),
)

SLO = board(
    "slo", "SLO and error budget", "99.9 % of the requests to /data without a 5xx; 95 % of the answers within 320 ms; over 30 days.",
    ("Budget", [
        figure("Left", "1: untouched, 0: spent. What is spent stops risky changes.", "percentunit", "slo:budget_remaining",
               ("red", None), ("orange", 0.25), ("green", 0.5), span=8, legend="{{slo}}"),
        figure("Met over 1 h", "Share of good requests.", "percentunit", '1 - slo:error_ratio{window="1h"}', *GOOD_RATIO, span=8,
               legend="{{slo}}"),
        figure("Objective", "What was agreed.", "percentunit", "slo:objective", ("text", None), span=8, legend="{{slo}}"),
    ]),
    ("Burn rate", [
        graph("Availability", "1 spends the budget in exactly 30 days. 14.4 over 1 h and 5 min is an alert.", "short",
              ('slo:burn_rate{slo="availability"}', "{{window}}"), line=14.4),
        graph("Latency", "The same for answers slower than 320 ms.", "short",
              ('slo:burn_rate{slo="latency"}', "{{window}}"), line=14.4),
    ]),
    ("What it is made of", [
        graph("Requests", "That count, and those that failed or were slow.", "reqps",
              ("slo:requests:rate", "{{slo}} all"), ("slo:errors:rate", "{{slo}} bad")),
        graph("Budget left", "Over time.", "percentunit", ("slo:budget_remaining", "{{slo}}"), top=1),
    ]),
)


def main():
    check = sys.argv[1:] == ["--check"]
    FOLDER.mkdir(exist_ok=True)
    stale = []
    for made in (OVERVIEW, REPLICAS, DEPENDENCIES, SLO):
        file = FOLDER / f"{made.uid}.json"
        text = JSONEncoder(sort_keys=True, indent=1).encode(made) + "\n"
        if check and (not file.exists() or file.read_text() != text):
            stale.append(file.name)
        elif not check:
            file.write_text(text)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run deploy/grafana/generate.py")


main()
