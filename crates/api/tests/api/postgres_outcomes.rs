//! Errors of Postgres: each has one right answer (docs/outcomes.md).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Row, raw_sql};
use stack::{Operation, Target};
use tokio::task::JoinSet;

use crate::{
    http::{Answer, create, get, get_until, metric, send},
    proxy::SCHEDULING,
    replica::{PATIENCE, Replica, api},
    servers::Servers,
};

/// Every read reaches Postgres, and has enough time on a busy machine.
const UNCACHED: [(&str, &str); 5] = [
    ("CACHE", "off"),
    ("SINGLE_FLIGHT", "off"),
    ("DB_ACQUIRE_TIMEOUT", "4s"),
    ("DB_STATEMENT_TIMEOUT", "4s"),
    ("REQUEST_TIMEOUT", "9s"),
];

async fn put(url: &str, value: &str) -> Answer {
    send(Client::new().put(url).json(&json!({"name": "n", "value": value}))).await
}

async fn post_with_key(replica: &Replica, key: &str) -> Answer {
    let request = Client::new().post(replica.url("/data")).header("idempotency-key", key);
    send(request.json(&json!({"name": "keyed", "value": key}))).await
}

/// Simultaneous reads, so that many connections are in use.
async fn read_at_once(replica: &Replica, ids: std::ops::RangeInclusive<i64>) -> Vec<Answer> {
    let mut reads = JoinSet::new();
    for id in ids {
        let url = replica.url(&format!("/data/{id}"));
        reads.spawn(async move { get(&url).await });
    }
    reads.join_all().await
}

async fn breaker(replica: &Replica) -> i64 {
    metric(&replica.url(""), "breaker_state{dependency=\"postgres\"}").await as i64
}

#[tokio::test]
async fn a_column_that_changes_its_type_is_noticed_by_no_client() {
    let servers = Servers::alone();
    let replicas = [Replica::start_on(&servers, &UNCACHED), Replica::start_on(&servers, &UNCACHED)];
    for (round, r#type) in ["varchar", "text", "varchar(20000)"].iter().enumerate() {
        for replica in &replicas {
            // Every connection has prepared every statement.
            assert!(read_at_once(replica, 1..=40).await.iter().all(|read| read.status == StatusCode::OK));
            assert_eq!(put(&replica.url("/data/1"), "before").await.status, StatusCode::OK);
            assert_eq!(post_with_key(replica, &format!("before-{round}")).await.status, StatusCode::CREATED);
        }
        servers.sql(&format!("ALTER TABLE records ALTER value TYPE {type}")).await;
        for replica in &replicas {
            for read in read_at_once(replica, 1..=40).await {
                assert_eq!(read.status, StatusCode::OK, "{type}: {read:?}");
            }
            assert_eq!(get(&replica.url("/data?limit=5")).await.status, StatusCode::OK);
            assert_eq!(put(&replica.url("/data/1"), "after").await.status, StatusCode::OK);
            assert_eq!(post_with_key(replica, &format!("after-{round}")).await.status, StatusCode::CREATED);
            assert_eq!(breaker(replica).await, 0);
        }
    }
}

#[tokio::test]
async fn connections_that_the_server_ended_cost_no_request() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[&UNCACHED[..], &[("PROBE_INTERVAL", "1m")]].concat());
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'api-under-test'";
    for round in 0..5 {
        read_at_once(&replica, 1..=40).await;
        servers.sql(end_all).await;
        let first = match round % 4 {
            0 => get(&replica.url("/data/1")).await,
            1 => put(&replica.url("/data/1"), "v").await,
            2 => post_with_key(&replica, &format!("ended-{round}")).await,
            _ => send(Client::new().delete(replica.url("/data/2"))).await,
        };
        assert!(first.status.is_success(), "round {round}: {first:?}");
        // The other connections of the pool are broken too.
        for read in read_at_once(&replica, 3..=12).await {
            assert_eq!(read.status, StatusCode::OK, "round {round}: {read:?}");
        }
        assert_eq!(breaker(&replica).await, 0);
    }
}

#[tokio::test]
async fn a_read_only_database_refuses_writes_by_name_serves_reads_and_takes_writes_again_by_itself() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &UNCACHED);
    let writable = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE";
    // A setting that every session follows, and one that affects only new sessions.
    for (off, on) in [
        (
            "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()",
            "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()",
        ),
        (
            "ALTER DATABASE app SET default_transaction_read_only = on",
            "ALTER DATABASE app RESET default_transaction_read_only",
        ),
    ] {
        read_at_once(&replica, 1..=20).await;
        let mut admin = servers.admin().await;
        raw_sql(AssertSqlSafe(writable.to_owned())).execute(&mut admin).await.expect("a session of our own");
        for statement in off.split("; ") {
            raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut admin).await.expect("read-only");
        }
        // Sessions that are there may still write where only new ones are concerned.
        servers
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'api-under-test'")
            .await;
        let start = Instant::now();
        loop {
            let refused = put(&replica.url("/data/1"), "no").await;
            if refused.status == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(refused.problem_code(), "database_read_only");
                assert!(!refused.header("retry-after").is_empty());
                break;
            }
            // The setting reaches sessions with a signal.
            assert!(start.elapsed() < Duration::from_secs(5), "{refused:?}");
        }
        for read in read_at_once(&replica, 1..=20).await {
            assert_eq!(read.status, StatusCode::OK, "{read:?}");
        }
        let health = get_until(&replica.url("/health"), |health| health.body["status"] == "warn").await;
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(breaker(&replica).await, 0);
        raw_sql(AssertSqlSafe(writable.to_owned())).execute(&mut admin).await.expect("a session of our own");
        for statement in on.split("; ") {
            raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut admin).await.expect("writable again");
        }
        let back = Instant::now();
        while put(&replica.url("/data/1"), "yes").await.status != StatusCode::OK {
            assert!(back.elapsed() < Duration::from_secs(2) + SCHEDULING, "still refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for round in 0..20 {
            let written = put(&replica.url("/data/1"), "and stays so").await;
            assert_eq!(written.status, StatusCode::OK, "round {round}: {written:?}");
        }
    }
}

#[tokio::test]
async fn with_two_connections_for_three_replicas_some_misses_are_served_and_none_hangs() {
    let servers = Servers::alone();
    // Enough time to be refused on a busy machine; the fallback matrix tests the default bounds.
    let patient = [("DB_ACQUIRE_TIMEOUT", "1s"), ("REQUEST_TIMEOUT", "2s")];
    let replicas: [Replica; 3] = std::array::from_fn(|_| Replica::start_on(&servers, &patient));
    servers.sql("ALTER ROLE app CONNECTION LIMIT 2").await;
    servers.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'").await;
    let mut served = 0;
    let mut reads = JoinSet::new();
    for id in 1..=60 {
        let url = replicas[id % 3].url(&format!("/data/{id}"));
        reads.spawn(async move {
            let start = Instant::now();
            (get(&url).await, start.elapsed())
        });
    }
    for (read, took) in reads.join_all().await {
        assert!(took < Duration::from_secs(2) + SCHEDULING, "{took:?}: {read:?}");
        match read.status {
            StatusCode::OK => served += 1,
            _ => assert_eq!((read.status.as_u16(), read.problem_code()), (503, "database_busy"), "{read:?}"),
        }
    }
    assert!(served > 0, "nobody was served");
    for replica in &replicas {
        assert_eq!(breaker(replica).await, 0, "a full Postgres is not one that is away");
    }
}

#[tokio::test]
async fn no_replica_keeps_the_last_connections_from_another() {
    let servers = Servers::alone();
    let variables = [("CACHE", "off"), ("SINGLE_FLIGHT", "off")];
    let replicas: [Replica; 3] = std::array::from_fn(|_| Replica::start_on(&servers, &variables));
    servers.sql("ALTER ROLE app CONNECTION LIMIT 2").await;
    servers.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'").await;
    // Idle replicas: each is served in its turn, though there are more replicas than connections.
    for replica in &replicas {
        let start = Instant::now();
        while read_at_once(replica, 1..=4).await.iter().all(|read| read.status != StatusCode::OK) {
            assert!(start.elapsed() < Duration::from_secs(1) + SCHEDULING, "an idle replica holds the connections");
        }
    }
    // Busy replicas: none is left out for long.
    let mut waits = JoinSet::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for replica in replicas {
        let stop = stop.clone();
        waits.spawn(async move {
            let (mut served_at, mut longest) = (Instant::now(), Duration::ZERO);
            while !stop.is_cancelled() {
                let is_served = read_at_once(&replica, 1..=8).await.iter().any(|read| read.status == StatusCode::OK);
                longest = longest.max(served_at.elapsed());
                if is_served {
                    served_at = Instant::now();
                }
            }
            longest
        });
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    stop.cancel();
    let longest = waits.join_all().await;
    assert!(longest.iter().all(|wait| *wait < Duration::from_secs(3) + SCHEDULING), "{longest:?}");
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_a_locked_record_and_not_a_database_that_is_away() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[("BREAKER_FAILURES", "2")]);
    let mut admin = servers.admin().await;
    raw_sql("BEGIN; SELECT 1 FROM records WHERE id = 7 FOR UPDATE").execute(&mut admin).await.expect("locked");
    for _ in 0..6 {
        let start = Instant::now();
        let locked = put(&replica.url("/data/7"), "no").await;
        assert_eq!((locked.status.as_u16(), locked.problem_code()), (503, "record_locked"), "{locked:?}");
        assert!(!locked.header("retry-after").is_empty());
        assert!(start.elapsed() < Duration::from_millis(300) + SCHEDULING, "{:?}", start.elapsed());
    }
    assert_eq!(get(&replica.url("/data/900")).await.status, StatusCode::OK, "misses are served");
    assert_eq!(get(&replica.url("/data/7")).await.status, StatusCode::OK, "readers wait for no row");
    assert_eq!(breaker(&replica).await, 0);
    raw_sql("COMMIT").execute(&mut admin).await.expect("unlocked");
    assert_eq!(put(&replica.url("/data/7"), "yes").await.status, StatusCode::OK);
}

/// A trigger that raises `sqlstate` for the first of every `each` inserts.
fn raising(sqlstate: &str, each: u32) -> String {
    format!(
        "CREATE SEQUENCE IF NOT EXISTS inserts; GRANT USAGE ON inserts TO PUBLIC; \
         CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('inserts') % {each} = 1 % {each} THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END IF; \
         RETURN NEW; END $$; \
         CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION refuse(); \
         SELECT setval('inserts', 2 * {each}, true)"
    )
}

#[tokio::test]
async fn what_an_insert_can_be_refused_with_has_an_answer_each() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[("BREAKER_FAILURES", "2")]);
    for (sqlstate, status, code) in [
        ("40001", 503, "record_locked"),
        ("40P01", 503, "record_locked"),
        ("53100", 503, "database_full"),
        ("53200", 503, "database_unavailable"),
        ("58030", 503, "database_unavailable"),
        ("25006", 503, "database_read_only"),
        ("55P03", 503, "record_locked"),
        ("2200H", 500, "internal"),
        ("23514", 500, "internal"),
        ("22001", 500, "internal"),
        ("42501", 500, "internal"),
        ("42P01", 500, "internal"),
        ("XX000", 500, "internal"),
        ("P0001", 500, "internal"),
    ] {
        servers.sql(&raising(sqlstate, 1)).await;
        for _ in 0..4 {
            let refused = post_with_key(&replica, &format!("refused-{sqlstate}")).await;
            assert_eq!((refused.status.as_u16(), refused.problem_code()), (status, code), "{sqlstate}: {refused:?}");
            assert!(!refused.body.to_string().contains("refused\""), "the cause leaks: {refused:?}");
        }
        assert_eq!(breaker(&replica).await, 0, "{sqlstate}: reads still work");
        assert_eq!(get(&replica.url("/data/800")).await.status, StatusCode::OK, "{sqlstate}");
        if status == 500 || matches!(code, "database_unavailable" | "database_full") {
            replica.wait_for_log(|line| line["level"] == "ERROR" && line["sqlstate"] == sqlstate);
        }
    }
}

#[tokio::test]
async fn a_transaction_that_lost_a_conflict_runs_once_more() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[]);
    for sqlstate in ["40001", "40P01"] {
        servers.sql(&raising(sqlstate, 2)).await;
        for round in 0..3 {
            let created = post_with_key(&replica, &format!("conflict-{sqlstate}-{round}")).await;
            assert_eq!(created.status, StatusCode::CREATED, "{sqlstate}: {created:?}");
        }
    }
    let succeeded = metric(&replica.url(""), "retries_total{dependency=\"postgres\",outcome=\"succeeded\"}").await;
    assert!(succeeded >= 6.0, "{succeeded}");
}

#[tokio::test]
async fn a_defect_of_our_own_is_a_500_that_is_logged_and_costs_neither_connection_nor_breaker() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[&UNCACHED[..], &[("BREAKER_FAILURES", "2")]].concat());
    assert_eq!(get(&replica.url("/data/1")).await.status, StatusCode::OK);
    for (breaks, mends, sqlstate) in [
        ("ALTER TABLE records RENAME name TO title", "ALTER TABLE records RENAME title TO name", "42703"),
        ("ALTER TABLE records RENAME TO entries", "ALTER TABLE entries RENAME TO records", "42P01"),
        ("REVOKE SELECT ON records FROM app", "GRANT SELECT ON records TO app", "42501"),
    ] {
        servers.sql(breaks).await;
        for _ in 0..4 {
            let failed = get(&replica.url("/data/1")).await;
            assert_eq!((failed.status.as_u16(), failed.problem_code()), (500, "internal"), "{sqlstate}: {failed:?}");
        }
        replica.wait_for_log(|line| line["level"] == "ERROR" && line["sqlstate"] == sqlstate);
        assert_eq!(breaker(&replica).await, 0, "{sqlstate}");
        servers.sql(mends).await;
        assert_eq!(get(&replica.url("/data/1")).await.status, StatusCode::OK, "{sqlstate}");
    }
}

/// It waits for the session that is there, and refuses every new one with 57P03.
#[tokio::test]
async fn a_postgres_that_shuts_down_is_away_by_name_and_used_as_soon_as_it_is_back() {
    let servers = Servers::alone();
    let variables = [("PROBE_INTERVAL", "100ms")];
    let cached = Replica::start_on(&servers, &variables);
    get_until(&cached.url("/data/1"), |read| read.cache_status().starts_with("redis; hit")).await;
    let mut admin = servers.admin().await;
    let file = raw_sql("SELECT pg_read_file('postmaster.pid')").fetch_one(&mut admin).await.expect("its lock file");
    let pid = file.get::<String, _>(0).lines().next().and_then(|line| line.parse().ok()).expect("a process id");
    let postgres = Pid::from_raw(pid).expect("a process");
    kill_process(postgres, Signal::TERM).expect("a smart shutdown begins");
    let refused =
        |error: &sqlx::Error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    let give_up = Instant::now() + PATIENCE;
    let new_session = || sqlx::PgConnection::connect(&servers.database_admin_url);
    while new_session().await.err().is_none_or(|error| refused(&error) != "57P03") {
        assert!(Instant::now() < give_up, "new sessions are let in");
    }

    // It has no connection yet, and gets none.
    let mut command = api(&["serve"]);
    command.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", &servers.redis_url);
    let started = Replica::start_with(command, &variables, Some(std::sync::Arc::clone(&servers)));
    started.wait_for_log(|line| line["message"] == "dependency is up" && line["dependency"] == "redis");
    let mut codes = BTreeSet::new();
    for _ in 0..10 {
        for refused in [get(&started.url("/data/900")).await, put(&started.url("/data/900"), "no").await] {
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
            codes.insert(refused.problem_code().to_owned());
        }
        assert_eq!(get(&started.url("/data/1")).await.status, StatusCode::OK, "the cache answers");
    }
    // It counts in the breaker, which then refuses.
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["database_not_asked", "database_unavailable"]);
    assert_eq!(metric(&started.url(""), "dependency_up{dependency=\"postgres\"}").await as i64, 0);
    assert_eq!(new_session().await.err().map(|error| refused(&error)).as_deref(), Some("57P03"), "as before");
    drop(admin);
    // It ends the sessions of the replicas, and then itself.
    kill_process(postgres, Signal::INT).expect("a fast shutdown begins");
    while new_session().await.err().is_none_or(|error| error.as_database_error().is_some()) {
        assert!(Instant::now() < give_up, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stack = servers.stack();
    tokio::task::spawn_blocking(move || stack.heal(Some(Target::Postgres), &Operation::default()))
        .await
        .expect("no panic")
        .expect("Postgres is back");
    let back = Instant::now();
    for replica in [&cached, &started] {
        // A write, which the cache cannot answer.
        while put(&replica.url("/data/900"), "yes").await.status != StatusCode::OK {
            assert!(back.elapsed() < Duration::from_secs(2) + SCHEDULING, "still refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(get(&replica.url("/data/901")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_time_that_cannot_be_written_does_not_come_in_and_harms_only_its_own_row() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &UNCACHED);
    let id = create(&replica.url(""), "bounded").await;
    for odd in ["0002-01-01 BC", "infinity", "-infinity", "10000-01-01", "294276-12-31"] {
        let update = format!("UPDATE records SET updated_at = '{odd}' WHERE id = {id}");
        let by_hand = format!("SET session_replication_role = replica; {update}");
        let mut admin = servers.admin().await;
        let refused = raw_sql(AssertSqlSafe(by_hand.clone())).execute(&mut admin).await;
        assert!(refused.is_err(), "{odd} came in");
        // Even if the bound was removed from the table.
        servers.sql(&format!("ALTER TABLE records DROP CONSTRAINT records_updated_at_check; {by_hand}")).await;
        let failed = get(&replica.url(&format!("/data/{id}"))).await;
        assert_eq!((failed.status.as_u16(), failed.problem_code()), (500, "internal"), "{odd}: {failed:?}");
        let page = get(&replica.url(&format!("/data?after={}&limit=2", id - 2))).await;
        assert_eq!(page.status, StatusCode::OK, "{odd}: {page:?}");
        assert_eq!(
            page.body["items"].as_array().map(Vec::len),
            Some(1),
            "{odd}: only its own row is left out: {page:?}"
        );
        replica.wait_for_log(|line| line["level"] == "ERROR" && line["id"] == id);
        servers
            .sql(&format!(
                "UPDATE records SET updated_at = now() WHERE id = {id}; ALTER TABLE records ADD CONSTRAINT \
                 records_updated_at_check CHECK (updated_at >= '0001-01-01 00:00:00+00' \
                 AND updated_at < '10000-01-01 00:00:00+00')"
            ))
            .await;
    }
}

#[tokio::test]
async fn a_key_that_expired_makes_a_new_record_and_a_raced_one_makes_one_over_two_replicas() {
    let servers = Servers::alone();
    let replicas = [Replica::start_on(&servers, &[]), Replica::start_on(&servers, &[])];
    let first = post_with_key(&replicas[0], "daily").await;
    let repeated = post_with_key(&replicas[1], "daily").await;
    assert_eq!((repeated.status, &repeated.body), (StatusCode::CREATED, &first.body));
    servers.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'").await;
    let anew = post_with_key(&replicas[1], "daily").await;
    assert_eq!(anew.status, StatusCode::CREATED, "{anew:?}");
    assert_ne!(anew.body["id"], first.body["id"], "a day later it is a new request");
    servers.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'").await;
    let mut raced = JoinSet::new();
    for replica in replicas.iter().cycle().take(8) {
        let request = Client::new().post(replica.url("/data")).header("idempotency-key", "daily");
        raced.spawn(send(request.json(&json!({"name": "keyed", "value": "daily"}))));
    }
    let answers = raced.join_all().await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (StatusCode::CREATED, &answers[0].body), "{answer:?}");
    }
    assert_ne!(answers[0].body["id"], anew.body["id"]);
}
