//! The lessons themselves. Expected numbers belong in the reason, never in what was seen.

use stack::{FaultKind, Target};

use super::{Lesson, Step, Window};

fn outcome(window: &Window) -> String {
    format!("{:.0} requests/s, {:.1} % failed, {}", window.rate(), window.failed(), window.p95())
}

fn refused(window: &Window) -> String {
    let refused = window.share(|point| point.refused.unwrap_or(0.0));
    format!("{:.0} requests/s came in, {refused:.0} % of them were refused with 429; {}", window.rate(), window.p95())
}

fn cached(window: &Window) -> String {
    format!("{:.0} % of the reads were answered by Redis, {}", window.hits(), window.p95())
}

fn in_restart(window: &Window) -> String {
    let failed: f64 = window.0.iter().map(super::Point::failed).sum();
    format!("{failed:.0} of {:.0} requests failed during the restart ({:.1} %)", window.total(), window.failed())
}

const FIRST_SYSTEM: Lesson = Lesson {
    title: "Your first system",
    promise: "Client, server, database: why each part is there, and what one of each costs.",
    steps: &[
        Step {
            title: "Everything is connected",
            action: "In Load, start a steady rate of 100 requests/s and let it run.",
            question: "How many of 100 requests succeed?",
            choices: &["95 or more", "About half", "None"],
            why: "Nothing is broken. nginx spreads the requests over the replicas, and Redis answers most reads.",
            seconds: 5,
            is_so: |facts| facts.has_traffic() && facts.is_whole() && facts.replicas() >= 2,
            saw: outcome,
        },
        Step {
            title: "A server that can take less than it gets",
            action: "In Mechanisms, set Requests/s to 16 for each replica (48/s with three) and apply; 100/s still come in.",
            question: "What do clients get beyond the limit?",
            choices: &["A slow answer", "An error at once", "Nothing"],
            why: "The limit refuses at once with 429 and a Retry-After. The requests within the limit stay fast: refusing \
                  early protects them.",
            seconds: 5,
            is_so: |facts| {
                facts.has_traffic()
                    && facts.is_set("MAX_RPS", |value| value != "off")
                    && facts.point.refused > Some(0.0)
            },
            saw: refused,
        },
        Step {
            title: "A database without connections",
            action: "Set Requests/s back to off and the cache to off. Then click Postgres and choose limit-connections.",
            question: "Two connections for three replicas: what happens to latency?",
            choices: &["It stays", "It grows, and some requests fail", "Every request fails"],
            why: "Every read waits for a turn at a connection, 100 ms at most. A request that gets none in \
                  time is refused (503 database_busy); none waits without a limit.",
            seconds: 5,
            is_so: |facts| {
                facts.has_traffic() && facts.has(|_, kind| matches!(kind, FaultKind::LimitConnections { .. }))
            },
            saw: outcome,
        },
        Step {
            title: "One server, and it crashes",
            action: "Heal all, cache on, scale to 1. Then click api-1 and kill it.",
            question: "How many requests fail?",
            choices: &["None", "A third", "All"],
            why: "A single instance is a single point of failure: nginx has nowhere to send the requests and answers 502.",
            seconds: 3,
            is_so: |facts| {
                facts.replicas() == 1
                    && facts.has(|target, kind| {
                        matches!(target, Target::Api(_)) && matches!(kind, FaultKind::Kill | FaultKind::Stop)
                    })
                    && facts.has_traffic()
            },
            saw: outcome,
        },
        Step {
            title: "Three servers, and one crashes",
            action: "Heal all, scale to 3, and kill api-1 again.",
            question: "How many requests fail now?",
            choices: &["None", "A third", "All"],
            why: "nginx sends a read that fails at once to another replica, and leaves the dead one out for 3 s at a time.",
            seconds: 5,
            is_so: |facts| {
                facts.replicas() >= 2
                    && facts.has(|target, kind| matches!(target, Target::Api(_)) && *kind == FaultKind::Kill)
                    && facts.has_traffic()
            },
            saw: outcome,
        },
    ],
};

const INCIDENT: Lesson = Lesson {
    title: "Incident response",
    promise: "The contract: uptime 95 %, p95 320 ms, while something breaks at the worst time.",
    steps: &[
        Step {
            title: "A day begins",
            action: "In Load, start the day: 260 users at night, 1,900 in the evening, in two minutes.",
            question: "Does the stack keep p95 under 320 ms at the peak?",
            choices: &["Yes", "No"],
            why: "The peak is 380 requests/s. Most are answered by Redis.",
            seconds: 5,
            is_so: |facts| facts.has_curve && facts.has_traffic() && facts.load > Some(0.0),
            saw: outcome,
        },
        Step {
            title: "The incident",
            action: "Click Redis and pause it: it accepts connections and answers nothing. Keep the load running.",
            question: "Is the contract still met?",
            choices: &["Yes: reads go to Postgres", "Uptime yes, p95 no", "Neither"],
            why: "A read waits 80 ms at most, then goes past the cache. After five failures the breaker opens and Redis \
                  costs nothing any more; Postgres carries the reads.",
            seconds: 5,
            is_so: |facts| facts.has(|target, _| target == Target::Redis) && facts.has_traffic(),
            saw: |window| {
                let bypass = window.typical(|point| point.bypass).unwrap_or(0.0);
                format!("{}; {bypass:.0} reads/s went past the cache", outcome(window))
            },
        },
        Step {
            title: "Recovery",
            action: "Heal all, and look at the event log: it says when the breakers closed and the first hit came.",
            question: "What has to be restarted?",
            choices: &["Nothing", "Redis", "Every replica"],
            why: "Each replica keeps trying to connect. The breaker lets one request through, which succeeds and closes it.",
            seconds: 3,
            is_so: |facts| facts.is_whole() && facts.has_traffic() && facts.point.hit > Some(0.0),
            saw: cached,
        },
        Step {
            title: "A rolling restart under load",
            action: "In Mechanisms, restart the replicas one by one while the load runs (start it again if the day is over).",
            question: "How many requests fail?",
            choices: &["None", "A few", "A third"],
            why: "A replica that is to stop says so first, finishes what it has, and only then goes; nginx sends new \
                  requests to the others.",
            seconds: 1,
            is_so: |facts| facts.restart.is_some_and(|restart| restart.is_rolling) && facts.has_traffic(),
            saw: in_restart,
        },
        Step {
            title: "The whole fleet at once",
            action: "Now restart all at once.",
            question: "How many requests fail?",
            choices: &["None", "All of them, for a while"],
            why: "For as long as no replica listens, nginx can only say 502. This is the post-mortem's line: rolling \
                  recovery preserves availability, restarting the fleet does not.",
            seconds: 1,
            is_so: |facts| facts.restart.is_some_and(|restart| !restart.is_rolling),
            saw: in_restart,
        },
    ],
};

const PHASES: Lesson = Lesson {
    title: "Raw, scaled, cached, protected",
    promise: "The phases of the notes this project grew from, on the real stack.",
    steps: &[
        Step {
            title: "Phase 1: raw failure",
            action: "In Mechanisms, choose phase 1 and apply; scale to 1; load 50/s. Then click Postgres and stop it.",
            question: "What do clients get?",
            choices: &["Old data", "An error at once", "No answer"],
            why: "Without a cache every read needs Postgres. A refused connection is an error at once: the raw failure.",
            seconds: 3,
            is_so: |facts| {
                facts.topology.phase == Some(1)
                    && facts.has_traffic()
                    && facts.has(|target, kind| {
                        target == Target::Postgres && matches!(kind, FaultKind::Stop | FaultKind::Kill)
                    })
            },
            saw: outcome,
        },
        Step {
            title: "Phase 2: three replicas",
            action: "Heal all, choose phase 2 and scale to 3. Load 50/s.",
            question: "Does scaling out help against a database that is away?",
            choices: &["Yes", "No"],
            why: "It shares the work and survives the loss of a replica. All replicas still need the one database.",
            seconds: 5,
            is_so: |facts| {
                facts.topology.phase == Some(2) && facts.replicas() >= 3 && facts.is_whole() && facts.has_traffic()
            },
            saw: outcome,
        },
        Step {
            title: "Phase 3: a cache",
            action: "Choose phase 3 and apply; load 50/s for a while.",
            question: "How many reads does Redis answer?",
            choices: &["About half", "Nearly all, after a while", "All"],
            why: "A few records are asked for most of the time. Each record misses once, then it is there for 30 s and longer.",
            seconds: 10,
            is_so: |facts| facts.topology.phase == Some(3) && facts.has_traffic() && facts.point.hit > Some(0.0),
            saw: cached,
        },
        Step {
            title: "Phase 4: a dependency that hangs",
            action: "Choose phase 4 and apply. Pause Postgres while the load runs.",
            question: "What does a read get that is in the cache?",
            choices: &["An answer as ever", "An error", "It waits"],
            why: "What is in the cache needs no database. What is not is answered 503 when its time is over; nobody waits \
                  without a limit.",
            seconds: 5,
            is_so: |facts| {
                facts.topology.phase == Some(4)
                    && facts.has(|target, kind| target == Target::Postgres && *kind == FaultKind::Pause)
                    && facts.has_traffic()
            },
            saw: |window| format!("{}; {}", outcome(window), cached(window)),
        },
        Step {
            title: "Everything on",
            action: "Heal all, choose \"everything on\" and apply. Pause Redis while the load runs.",
            question: "Compared with phase 4: what do the breakers add?",
            choices: &["Fewer errors", "Reads no longer wait for Redis", "Nothing"],
            why: "Phase 4 pays the time-out on every read. With breakers only the first few do.",
            seconds: 5,
            is_so: |facts| {
                facts.topology.phase.is_none()
                    && facts.has(|target, kind| target == Target::Redis && *kind == FaultKind::Pause)
                    && facts.has_traffic()
            },
            saw: outcome,
        },
    ],
};

pub(in super::super) const LESSONS: [Lesson; 3] = [FIRST_SYSTEM, INCIDENT, PHASES];
