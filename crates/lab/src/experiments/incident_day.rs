//! The day of the incident lesson, compressed: its users, three incidents, and two ways to recover.

use std::time::Duration;

use loadgen::Pick;
use stack::{FaultKind, Restart, Target};

use super::outage::Says;
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, Moment, Pace, ProbePlan, RequestPlan, Scale, Via},
    hypothesis::{Bound, Hypothesis, Measure},
};

/// Hour of the day and number of users: the lesson's baseline of 260 and its peak of 1,900 in the evening.
const USERS: [(f64, f64); 16] = [
    (0.0, 420.0),
    (2.0, 280.0),
    (4.0, 260.0),
    (6.0, 340.0),
    (8.0, 720.0),
    (10.0, 980.0),
    (12.0, 1180.0),
    (14.0, 1050.0),
    (16.0, 1150.0),
    (18.0, 1520.0),
    (19.0, 1820.0),
    (20.0, 1900.0),
    (21.0, 1760.0),
    (22.0, 1150.0),
    (23.0, 700.0),
    (24.0, 420.0),
];
/// A user sends a request every ten seconds.
const REQUESTS_PER_USER: f64 = 0.1;
/// Most reads are for records that other users read too.
const RECORDS: u64 = 100;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("incident-day", "Does the service keep its contract over a day with three incidents?")
        .from(
            "002",
            "incident-response",
            "Uptime 95%, p95 latency 320 ms, budget $760 a month; baseline 260 users, peak around 1,900 over 24 hours. Rolling \
             recovery preserves availability better than restarting the whole fleet.",
        )
        .expect(
            "A user sends a request every ten seconds: 26 to 190 requests a second, most of them for popular \
             records. At 9:00 a replica crashes, at 14:00 Redis hangs, and in the evening's peak Postgres \
             crashes. Each time the fault is repaired, and an hour later all replicas are restarted as a \
             precaution. A rolling restart costs nothing. Restarting all replicas at once is a second incident \
             after the first.",
        )
        .change(
            "Repair what is broken and leave the rest alone. If replicas must be restarted, restart one after the \
             other.",
        )
        .figure("uptime", "95 %", "rolling", "whole", Measure::Availability)
        .figure("p95 latency", "320 ms", "rolling", "whole", Measure::good(95.0))
        .figure("budget a month", "$760", "rolling", "whole", Measure::PricePerMonth);
    let arms = vec![arm("rolling", Restart::Rolling, scale), arm("whole-fleet", Restart::AllAtOnce, scale)];
    Experiment { about, arms, hypotheses: hypotheses() }
}

/// `42..28:2s,28..26:2s`: the load generator stretches it.
fn curve() -> String {
    let rate = |users: f64| users * REQUESTS_PER_USER;
    let stage = |pair: &[(f64, f64)]| {
        let [(from, before), (to, after)] = [pair[0], pair[1]];
        format!("{}..{}:{}s", rate(before), rate(after), to - from)
    };
    USERS.windows(2).map(stage).collect::<Vec<_>>().join(",")
}

fn arm(name: &str, restart: Restart, scale: Scale) -> Arm {
    let day = scale.seconds(48, 24 * 60);
    let hour = |hour: f64| day.mul_f64(hour / 24.0);
    let requests =
        [RequestPlan::get("/data/{id}").named("get").weight(0.98), RequestPlan::put("/data/{id}").weight(0.02)];
    let mut load = LoadPlan::new(Pace::Curve(curve()), day).of_ids(1, RECORDS).asking(requests);
    load.pick = Pick::Zipf;
    load.per_user = Some(REQUESTS_PER_USER);
    let incidents = [
        (9.0, Target::Api(2), FaultKind::Kill),
        (14.0, Target::Redis, FaultKind::Pause),
        (19.5, Target::Postgres, FaultKind::Kill),
    ];
    let mut arm =
        Arm::new(name).load(load).alerting(day).watched("/data/1").probe(
            ProbePlan::get("database", Via::Nginx, "/data/{new}").good(crate::experiment::Expect::status(&[404])),
        );
    for (number, (at, target, kind)) in (1..).zip(incidents) {
        let (incident, repair, restarted) =
            (format!("incident-{number}"), format!("repair-{number}"), format!("restart-{number}"));
        arm = arm
            .named(&incident, hour(at), Action::fault(target, kind))
            .named(&repair, hour(at + 1.0), Action::heal())
            .named(&restarted, hour(at + 2.0), Action::Restart(restart))
            .between(&incident, &format!("{incident}.asked"), &format!("{repair}.done"))
            .window(
                &restarted,
                Moment::at(&format!("{restarted}.asked")),
                Moment::after(&format!("{restarted}.done"), Duration::from_secs(1)),
            );
    }
    arm
}

fn hypotheses() -> Vec<Hypothesis> {
    let says = Says("rolling");
    let mut all = vec![
        says.that("95 % of the requests succeed", "whole", Measure::Success, Bound::at_least(95.0)),
        says.that(
            "the service is available for 95 % of the day",
            "whole",
            Measure::Availability,
            Bound::at_least(95.0),
        ),
        says.that("p95 is within the contract", "whole", Measure::good(95.0), Bound::at_most(320.0)),
        says.that(
            "the price of the topology is within the budget",
            "whole",
            Measure::PricePerMonth,
            Bound::at_most(760.0),
        ),
        says.recovers("database", "Postgres is used again within 2 s of the last repair"),
        says.never_wrong("nginx"),
    ];
    for number in 1..=3 {
        let restart = format!("restart-{number}");
        let quiet = "no request fails during the rolling restart after an incident";
        all.push(says.that(quiet, &restart, Measure::Failures, Bound::at_most(0.0)));
    }
    // nginx finds no replica. All three restarts together: each lasts for some tens of milliseconds, in which few requests come.
    let outage = "restarting the whole fleet makes requests fail";
    all.push(Says("whole-fleet").that(outage, "whole", Measure::Status(502), Bound::at_least(1.0)));
    all
}
