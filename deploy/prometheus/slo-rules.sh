#!/usr/bin/env bash
# Writes the rules of the service-level objectives to standard output: the burn of the error budget over several windows,
# what is left of the budget, and the alerts on both objectives. `rules/slo.yml` is its output with the defaults.
set -euo pipefail
export LC_ALL=C # numbers with a point

usage() {
    cat <<'USAGE'
usage: deploy/prometheus/slo-rules.sh [--day 24h] [--availability 0.999] [--latency 0.95]

  --day TIME        how long a day lasts (s, m or h): 24m makes every window 60 times shorter, for a compressed day
  --availability A  share of the requests to /data that must not fail
  --latency L       share of the answered ones that must take at most 320 ms

The windows in labels and names keep their names, so that dashboards and runbooks fit any length of the day.
USAGE
}

day=24h
availability=0.999
latency=0.95
while [ $# -gt 0 ]; do
    case $1 in
    --day | --availability | --latency)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        declare "${1#--}=$2"
        shift 2
        ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
number='^0\.[0-9]{1,6}$'
[[ $day =~ ^([1-9][0-9]{0,5})(s|m|h)$ ]] || { echo "slo-rules: --day takes 24h, 24m or 1440s, not '$day'" >&2; exit 2; }
[[ $availability =~ $number && $latency =~ $number ]] || { echo "slo-rules: an objective is between 0 and 1, like 0.999" >&2; exit 2; }
case ${day: -1} in
s) day_ms=$((${day%?} * 1000)) ;;
m) day_ms=$((${day%?} * 60000)) ;;
h) day_ms=$((${day%?} * 3600000)) ;;
esac

# scaled SECONDS [LEAST_MS]: that part of a real day, of this day, as Prometheus writes durations.
scaled() {
    local ms=$(($1 * day_ms / 86400)) least=${2:-1000}
    [ "$ms" -ge "$least" ] || ms=$least
    if ((ms % 86400000 == 0)); then echo "$((ms / 86400000))d"
    elif ((ms % 3600000 == 0)); then echo "$((ms / 3600000))h"
    elif ((ms % 60000 == 0)); then echo "$((ms / 60000))m"
    elif ((ms % 1000 == 0)); then echo "$((ms / 1000))s"
    else echo "${ms}ms"; fi
}

# What a window is called, and its seconds in a real day.
names=(5m 30m 1h 2h 6h 1d 3d)
seconds=(300 1800 3600 7200 21600 86400 259200)

# Four scrapes at least, or a rate is chance.
base=$(scaled 60 4000)
data='job="api",http_route=~"/data.*"'

cat <<END
# Generated: deploy/prometheus/slo-rules.sh --day $day --availability $availability --latency $latency
#
# Availability: of the requests to /data, $availability are answered without a 5xx. Latency: of those, $latency within 320 ms. Over
# 30 days. A client that hung up (499) counts for neither. The longer windows are sums over the recorded rates, weighed by
# traffic as they must be, and cost next to nothing however many raw samples there are.

groups:
  - name: slo_rates
    interval: $(scaled 5)
    rules:
      - record: slo:requests:rate
        labels: { slo: availability }
        expr: sum(rate(http_requests_total{$data,http_response_status_code!="499"}[$base]))
      - record: slo:errors:rate
        labels: { slo: availability }
        expr: sum(rate(http_requests_total{$data,http_response_status_code=~"5.."}[$base]))
      - record: slo:requests:rate
        labels: { slo: latency }
        expr: sum(rate(http_server_request_duration_seconds_count{$data,http_response_status_code!~"499|5.."}[$base]))
      - record: slo:errors:rate
        labels: { slo: latency }
        expr: |
          sum(rate(http_server_request_duration_seconds_count{$data,http_response_status_code!~"499|5.."}[$base]))
            - sum(rate(http_server_request_duration_seconds_bucket{$data,http_response_status_code!~"499|5..",le="0.32"}[$base]))
      - record: slo:objective
        labels: { slo: availability }
        expr: vector($availability)
      - record: slo:objective
        labels: { slo: latency }
        expr: vector($latency)

  - name: slo_windows
    interval: $(scaled 5)
    rules:
END
for i in "${!names[@]}"; do
    window=$(scaled "${seconds[i]}")
    cat <<END
      - record: slo:error_ratio
        labels: { window: ${names[i]} }
        expr: sum_over_time(slo:errors:rate[$window]) / (sum_over_time(slo:requests:rate[$window]) > 0)
END
done
cat <<END
      # How many times faster than allowed the budget is being spent: 1 spends it in exactly 30 days.
      - record: slo:burn_rate
        expr: slo:error_ratio / on (slo) group_left () (1 - slo:objective)

  - name: slo_budget
    interval: $(scaled 10)
    rules:
      # 1: untouched; 0: spent; below: the objective is missed.
      - record: slo:budget_remaining
        expr: |
          1 - (sum_over_time(slo:errors:rate[$(scaled 2592000)]) / (sum_over_time(slo:requests:rate[$(scaled 2592000)]) > 0))
            / (1 - slo:objective)

  # Each alert asks two windows: the long one says that it matters, the short one that it still goes on.
  - name: slo_alerts
    interval: $(scaled 5)
    rules:
END
alert() { # NAME SLO SEVERITY FACTOR LONG SHORT FACTOR LONG SHORT SUMMARY
    cat <<END
      - alert: $1
        expr: |
          max by (slo) (
            (slo:burn_rate{slo="$2",window="$5"} > $4 and ignoring (window) slo:burn_rate{slo="$2",window="$6"} > $4)
              or
            (slo:burn_rate{slo="$2",window="$8"} > $7 and ignoring (window) slo:burn_rate{slo="$2",window="$9"} > $7))
        labels: { severity: $3 }
        annotations:
          summary: "${10}"
          runbook: docs/runbooks/$1.md
END
}
alert AvailabilityBudgetBurnsFast availability page 14.4 1h 5m 6 6h 30m \
    "requests fail {{ \$value | humanize }} times faster than the availability objective allows"
alert AvailabilityBudgetBurnsSlowly availability ticket 3 1d 2h 1 3d 6h \
    "at this pace the availability budget is spent before the month is over"
alert LatencyBudgetBurnsFast latency page 14.4 1h 5m 6 6h 30m \
    "requests are slow {{ \$value | humanize }} times more often than the latency objective allows"
alert LatencyBudgetBurnsSlowly latency ticket 3 1d 2h 1 3d 6h \
    "at this pace the latency budget is spent before the month is over"
