//! What is done has a time and a proof, inside of dependencies and on the way to them as well.

use std::{
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use stack::{FaultKind, Injected, Operation, Stack, StackError, Status, Target};

use crate::client::Request;
use crate::support::{PATIENCE, Place, get, wait_for_answer, wait_until};

/// What Redis costs of an answer of the only replica, by the answer's own word.
fn redis_ms(status: &Status) -> f64 {
    let answer = stack::get(&format!("{}/data/1", status.replicas[0].url), PATIENCE).unwrap();
    let timing = answer.header("server-timing").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    timing.split("redis;dur=").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap()
}

fn connect(place: &Place) -> Stack {
    Stack::connect(&place.folder()).unwrap()
}

#[test]
fn every_effect_and_every_return_has_its_time_and_is_seen_from_outside() {
    let place = Place::new();
    place.up(&["--replicas", "2"]);
    let (stack, operation) = (connect(&place), Operation::default());
    let slow = FaultKind::Slow { latency: Duration::from_millis(30), jitter: Duration::ZERO, bandwidth: None };
    let table = "records".to_owned();
    for (target, kind, evidence) in [
        (Target::Api(2), FaultKind::Kill, "refused"),
        (Target::Postgres, FaultKind::Stop, "refused"),
        (Target::Redis, FaultKind::Pause, "nothing is answered"),
        (Target::Redis, slow, "ms"),
        (Target::Redis, FaultKind::HalfOpen, "nothing is answered"),
        (Target::Redis, FaultKind::Reset, "reset"),
        (Target::Redis, FaultKind::PauseClients, "not answered"),
        (Target::Redis, FaultKind::LimitMemory { bytes: 1 }, "OOM"),
        (Target::Postgres, FaultKind::LockTable { table: table.clone() }, "55P03"),
        (Target::Postgres, FaultKind::LockRow { table, row: 1 }, "55P03"),
        (Target::Postgres, FaultKind::LimitConnections { most: 2 }, "53300"),
        (Target::Postgres, FaultKind::ReadOnly, "25006"),
        (
            Target::Postgres,
            FaultKind::AlterColumn { table: "records".into(), column: "value".into(), to: "varchar".into() },
            "character varying",
        ),
        (Target::Postgres, FaultKind::FullDisk, "53100"),
    ] {
        let injected = stack.inject(kind.clone(), target, &operation).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let Injected { asked_at, took_effect_at, .. } = injected;
        assert!(asked_at <= took_effect_at && injected.evidence.contains(evidence), "{injected:?}");
        assert!(took_effect_at - asked_at < Duration::from_secs(10), "{injected:?}");
        let status = stack.status().unwrap();
        let noted: Vec<_> = status.faults().collect();
        assert_eq!((noted.len(), &noted[0].kind, noted[0].took_effect_at), (1, &kind, Some(took_effect_at)));
        let again = stack.inject(kind.clone(), target, &operation);
        assert!(matches!(again, Err(StackError::Conflict(_))), "twice: {again:?}");

        let healed = stack.heal(None, &operation).unwrap();
        assert_eq!(healed.len(), 1, "{healed:?}");
        assert_eq!((healed[0].target, healed[0].kind.as_ref()), (target, Some(&kind)));
        assert!(took_effect_at <= healed[0].asked_at && healed[0].asked_at <= healed[0].answered_at, "{healed:?}");
        assert!(stack.heal(None, &operation).unwrap().is_empty());
    }
    let corrupt = FaultKind::Corrupt { key: "record:v1:7".into() };
    let nothing_there = stack.inject(corrupt.clone(), Target::Redis, &operation);
    assert!(matches!(nothing_there, Err(StackError::Conflict(_))), "{nothing_there:?}");
    let url = format!("{}/data/7", stack.endpoints().unwrap().base_url);
    let cache = || stack::get(&url, PATIENCE).unwrap().header("cache-status").unwrap_or_default().to_owned();
    // Redis was away a moment ago, and is trusted again once the replicas have looked for themselves.
    wait_until("an entry in the cache", || cache().starts_with("redis; hit"));
    for (target, kind) in
        [(Target::Redis, corrupt), (Target::Redis, FaultKind::Flush), (Target::Postgres, FaultKind::EndConnections)]
    {
        stack.inject(kind.clone(), target, &operation).unwrap();
        assert_eq!(stack.status().unwrap().faults().count(), 0, "over at once");
        if matches!(kind, FaultKind::Corrupt { .. }) {
            assert_eq!(cache(), "redis; fwd=uri-miss; stored; detail=corrupt");
            assert!(cache().starts_with("redis; hit"), "replaced on the spot");
        }
    }
}

#[test]
fn a_fault_without_effect_is_an_error_and_taken_back() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    // The agent that has to hold the lock ends at once.
    let record = place.folder().join("state.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(env!("CARGO_BIN_EXE_lab"), "/bin/true")).unwrap();
    let outcome = place.lab(&["fault", "lock-table", "postgres"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("shows no effect"), "{outcome:?}");
    assert_eq!(place.status().faults().count(), 0);
    fs::write(&record, text).unwrap();
}

#[test]
fn a_slow_network_is_felt_by_replicas_and_only_as_long_as_it_lasts() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1", "--env", "TIMEOUTS=off"]);
    wait_for_answer(&format!("{}/data/1", status.base_url));
    let said = place.ok(&["fault", "slow", "redis", "--latency", "50ms"]);
    assert!(said.contains("slow by 50ms"), "{said}");
    wait_for_answer(&format!("{}/data/1", status.base_url));
    let late = redis_ms(&status);
    assert!((50.0..200.0).contains(&late), "{late} ms");
    let shown = place.ok(&["status"]);
    assert!(shown.contains("redis  slow by 50ms, for ") && shown.contains("up (slow)"), "{shown}");
    place.ok(&["heal"]);
    wait_until("prompt answers", || redis_ms(&status) < 25.0);
    // The way is there already: this time nobody has to be restarted for it.
    let pid = place.status().replicas[0].server.pid;
    place.ok(&["fault", "slow", "redis", "--latency", "60ms", "--jitter", "5ms", "--for", "300ms"]);
    assert_eq!(place.status().replicas[0].server.pid, pid);
    wait_until("prompt answers", || redis_ms(&status) < 25.0);
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn after_a_crash_of_the_lab_heal_undoes_what_it_was_at() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let write = || {
        let psql = ["psql", "--", "-Atc", "SET lock_timeout = '200ms'; UPDATE records SET value = value WHERE id = 1"];
        place.lab(&psql).stderr
    };
    for (fault, code) in [
        ("lock-table", "lock timeout"),
        ("lock-row", "lock timeout"),
        ("read-only", "read-only"),
        ("limit-connections", ""),
    ] {
        let mut lab = place.start(&["fault", fault, "postgres", "--for", "10m"]);
        lab.wait_for("postgres: ");
        lab.signal(Signal::KILL);
        drop(lab.outcome());
        assert!(!code.is_empty() || !write().is_empty() || fault == "limit-connections", "{fault}");
        assert!(write().contains(code), "{fault}: {}", write());
        assert!(place.ok(&["status"]).contains(fault));
        assert!(place.ok(&["heal"]).contains("postgres: "));
        assert_eq!(write(), "", "{fault} is undone");
    }
    wait_for_answer(&format!("{}/data/1", status.base_url));
}

#[test]
fn a_fault_in_the_data_of_a_dead_postgres_is_undone_by_the_next_start() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    place.ok(&["fault", "read-only", "postgres"]);
    place.ok(&["fault", "kill", "postgres"]);
    let down = place.lab(&["down"]);
    assert!(down.code == Some(0) && down.stderr.contains("the next `lab up` undoes"), "{down:?}");
    let status = place.up(&["--replicas", "1"]);
    assert_eq!(status.faults().count(), 0);
    assert_eq!(place.ok(&["psql", "--", "-Atc", "SHOW default_transaction_read_only"]).trim(), "off");
    // And while it runs, at once.
    place.ok(&["fault", "read-only", "postgres"]);
    place.ok(&["down"]);
    place.up(&["--replicas", "1"]);
    assert_eq!(place.ok(&["psql", "--", "-Atc", "SHOW default_transaction_read_only"]).trim(), "off");
}

#[test]
fn options_that_mean_nothing_and_absurd_values_are_refused() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    for words in [
        &["fault", "kill", "redis", "--latency", "5ms"][..],
        &["fault", "slow", "redis"],
        &["fault", "slow", "nginx", "--latency", "5ms"],
        &["fault", "slow", "redis", "--latency", "5ms", "--jitter", "6ms"],
        &["fault", "slow", "redis", "--latency", "1.5x"],
        &["fault", "slow", "redis", "--bandwidth", "0"],
        &["fault", "lock-table", "postgres", "--table", "no_such_table"],
        &["fault", "lock-table", "postgres", "--table", "a; DROP TABLE records"],
        &["fault", "lock-table", "redis"],
        &["fault", "limit-connections", "postgres", "--most", "-1"],
        &["fault", "limit-memory", "redis", "--limit", "0"],
    ] {
        let outcome = place.lab(words);
        assert_eq!(outcome.code, Some(2), "{words:?}: {outcome:?}");
    }
    for words in
        [&["fault", "lock-row", "postgres", "--row", "-5"][..], &["fault", "limit-memory", "redis", "--limit", "60mb"]]
    {
        let outcome = place.lab(words);
        assert_eq!(outcome.code, Some(1), "it would have no effect: {words:?}: {outcome:?}");
    }
    assert_eq!(place.status().faults().count(), 0);
    assert_eq!(get(&format!("{}/data/1", place.status().base_url)).0, 200);
}

/// What a replica uses of memory, in bytes, by the kernel.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_leak_grows_until_it_is_healed_and_is_killed_at_its_limit_otherwise() {
    const MB: u64 = 1 << 20;
    let place = Place::new();
    place.up(&["--replicas", "2", "--env", "LAB_FAULTS=on"]);
    let (stack, operation) = (connect(&place), Operation::default());
    let pid = |number: usize| place.status().replicas[number - 1].server.pid;

    let first = pid(1).unwrap();
    let before = resident(first);
    let endless = FaultKind::Leak { rate: 32 * MB, limit: 1024 * MB };
    let injected = stack.inject(endless.clone(), Target::Api(1), &operation).unwrap();
    assert!(injected.evidence.contains("grown"), "{injected:?}");
    wait_until("growth", || resident(first) > before + 64 * MB);
    assert!(matches!(stack.inject(endless, Target::Api(1), &operation), Err(StackError::Conflict(_))), "twice");
    let healed = stack.heal(None, &operation).unwrap();
    assert!(healed.len() == 1 && healed[0].action.contains("leaks no more"), "{healed:?}");
    wait_until("memory given back", || resident(first) < before + 48 * MB);
    assert_eq!(pid(1), Some(first), "healed without a restart");

    let limit = resident(first) + 40 * MB;
    let fault = FaultKind::Leak { rate: 16 * MB, limit };
    let injected = stack.inject(fault, Target::Api(1), &operation).unwrap();
    let mut largest = 0;
    wait_until("its end", || {
        let used = fs::metadata(format!("/proc/{first}"))
            .is_ok()
            .then(|| std::panic::catch_unwind(|| resident(first)).unwrap_or_default());
        largest = largest.max(used.unwrap_or_default());
        place.state("api-1") == "stopped"
    });
    assert!(largest <= limit + 8 * MB, "{largest} of {limit} bytes");
    assert_eq!(place.state("api-2"), "up");
    let healed = stack.undo(injected.id, &operation).unwrap().unwrap();
    assert!(healed.action.contains("has ended"), "{healed:?}");
    assert_eq!(place.state("api-1"), "up", "what the fault killed is started again");
    assert_eq!(place.status().faults().count(), 0);
}

#[test]
fn a_crash_from_inside_is_confirmed_and_the_replicas_are_told_to_accept_it() {
    let place = Place::new();
    let status = place.up(&["--replicas", "2"]);
    let said = place.lab(&["fault", "crash", "api-2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("api-2: crashed (abort); its process has ended"), "{said:?}");
    assert!(said.stderr.contains("LAB_FAULTS=on"), "{said:?}");
    assert_eq!((place.state("api-2").as_str(), place.state("api-1").as_str()), ("stopped", "up"));
    assert_ne!(place.status().replicas[0].server.pid, status.replicas[0].server.pid, "restarted with the switch");
    assert!(place.ok(&["heal"]).contains("api-2: "));
    assert_eq!(place.state("api-2"), "up");
    let refused = place.lab(&["fault", "crash", "redis"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn where_the_kernel_does_not_watch_a_leak_an_agent_ends_it_at_its_limit() {
    let mut leaking = Command::new("sleep").arg("60").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", leaking.id())).unwrap();
    let start = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap();
    let task = format!(r#"{{"limit-memory":{{"process":{{"pid":{},"start":{start}}},"bytes":1}}}}"#, leaking.id());
    let mut agent = Command::new(env!("CARGO_BIN_EXE_lab")).arg("agent").stdin(Stdio::piped()).spawn().unwrap();
    agent.stdin.take().unwrap().write_all(task.as_bytes()).unwrap();
    assert_eq!(leaking.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    assert!(agent.wait().unwrap().success());
}

#[test]
fn a_full_disk_refuses_writes_only_and_outlives_neither_heal_nor_the_stack() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let url = |id: u32| format!("{}/data/{id}", status.base_url);
    wait_for_answer(&url(1));
    let put = || Request::new("PUT", url(1)).record("full", "disk").send();
    let write = || place.lab(&["psql", "--", "-Atc", "UPDATE records SET value = value WHERE id = 1"]);
    let read = || place.lab(&["psql", "--", "-Atc", "SELECT id FROM records WHERE id = 1"]);
    let disk = place.folder().join("postgres/small-disk").display().to_string();
    let mounted = || fs::read_to_string("/proc/self/mounts").unwrap().contains(&disk);
    place.ok(&["fault", "full-disk", "postgres"]);
    assert!(mounted() && write().stderr.contains("No space left on device"), "{:?}", write());
    assert_eq!(read().stdout.trim(), "1");
    // More often than it takes to open the breaker.
    for _ in 0..6 {
        let refused = put();
        assert_eq!((refused.status, refused.code().as_str()), (503, "database_full"), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    assert_eq!(Request::get(url(900)).send().status, 200, "what is not in the cache is read");
    assert!(place.ok(&["heal"]).contains("room as before"));
    assert_eq!((mounted(), write().code, put().status), (false, Some(0), 200));

    place.ok(&["fault", "full-disk", "postgres"]);
    place.ok(&["fault", "kill", "postgres"]);
    place.ok(&["down"]);
    assert!(!mounted());
    place.up(&["--replicas", "1"]);
    assert_eq!((read().stdout.trim(), write().code), ("1", Some(0)), "mended by the next start");
    assert_eq!(place.status().faults().count(), 0);
}
