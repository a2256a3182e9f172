//! No write runs after its time limit: a replica that was paused does not execute a write that its client has given up.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use sqlx::raw_sql;

use crate::{
    http::{connect, create, get, get_until, read_to_end, send},
    replica::Replica,
    servers::Servers,
};

fn request(method: &str, path: &str, headers: &str, value: &str) -> Vec<u8> {
    let body = json!({"name": "n", "value": value}).to_string();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn sent(replica: &Replica, bytes: &[u8]) -> TcpStream {
    let mut client = connect(replica.address);
    client.write_all(bytes).expect("the kernel takes it");
    client
}

#[tokio::test]
async fn a_replica_that_was_paused_does_not_execute_what_nobody_waits_for_any_more() {
    let servers = Servers::alone();
    for threads in ["1", "2"] {
        let held_up = Replica::start_on(&servers, &[("WORKER_THREADS", threads)]);
        let other = Replica::start_on(&servers, &[]);
        let ids = [create(&other.url(""), "a").await, create(&other.url(""), "b").await];
        let deleted = create(&other.url(""), "c").await;
        held_up.signal(Signal::STOP);
        let mut clients: Vec<TcpStream> = Vec::new();
        for id in ids {
            clients.push(sent(&held_up, &request("PUT", &format!("/data/{id}"), "", "first")));
        }
        clients.push(sent(&held_up, &request("DELETE", &format!("/data/{deleted}"), "", "")));
        clients.push(sent(&held_up, &request("POST", "/data", "Idempotency-Key: held-up\r\n", "first")));
        drop(clients);
        for id in ids {
            let body = json!({"name": "n", "value": "second"});
            let put = send(Client::new().put(other.url(&format!("/data/{id}"))).json(&body)).await;
            assert_eq!(put.status, StatusCode::OK);
        }
        held_up.signal(Signal::CONT);
        // It has processed everything in its sockets: only this client is connected.
        get_until(&held_up.url("/metrics"), |metrics| {
            let text = metrics.body.as_str().unwrap_or_default();
            ["http_server_connections 1", "http_server_active_requests 1"]
                .iter()
                .all(|series| text.lines().any(|line| line == *series))
        })
        .await;
        for id in ids {
            let url = other.url(&format!("/data/{id}"));
            let seen = send(Client::new().get(&url).header("cache-control", "no-cache")).await;
            assert_eq!((&seen.body["value"], &seen.body["version"]), (&json!("second"), &json!(2)), "{seen:?}");
        }
        assert_eq!(get(&other.url(&format!("/data/{deleted}"))).await.status, StatusCode::OK, "not deleted");
        let created = Client::new().post(other.url("/data")).header("idempotency-key", "held-up");
        let created = send(created.json(&json!({"name": "n", "value": "another body"}))).await;
        assert_eq!(created.status, StatusCode::CREATED, "the key was not used: {created:?}");
        servers.sql("TRUNCATE idempotency_keys").await;
    }
}

/// `X-Request-Start` as nginx writes it, this many milliseconds ago.
fn started(ago_ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let then = i64::try_from(now).expect("fits") - ago_ms;
    format!("X-Request-Start: t={}.{:03}\r\n", then / 1_000, then % 1_000)
}

#[tokio::test]
async fn a_write_that_the_proxy_may_have_sent_to_another_replica_by_now_is_refused() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[]);
    let id = create(&replica.url(""), "fenced").await;
    let path = format!("/data/{id}");
    for method in ["PUT", "DELETE", "POST"] {
        let path = if method == "POST" { "/data" } else { &path };
        let answer = read_to_end(&mut sent(&replica, &request(method, path, &started(1_500), "late")));
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("deadline_exceeded"), "{method}: {answer}");
    }
    for fine in [started(0), started(100), started(-60_000), "X-Request-Start: junk\r\n".to_owned()] {
        let answer = read_to_end(&mut sent(&replica, &request("PUT", &path, &fine, "in time")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{fine}: {answer}");
    }
    let seen = get(&replica.url(&path)).await;
    assert_eq!((&seen.body["value"], &seen.body["version"]), (&json!("in time"), &json!(5)));
}

/// Delayed after the last check of the clock: by a lock, for longer than the write may take effect.
#[tokio::test]
async fn a_write_that_waited_too_long_for_a_row_does_not_take_effect() {
    let servers = Servers::alone();
    // Without Postgres' own time-outs only the statement itself knows that its time is over.
    let variables = [
        ("DB_LOCK_TIMEOUT", "5s"),
        ("DB_STATEMENT_TIMEOUT", "5s"),
        ("REQUEST_TIMEOUT", "6s"),
        ("WRITE_WINDOW", "300ms"),
    ];
    let replica = Replica::start_on(&servers, &variables);
    let id = create(&replica.url(""), "waited").await;
    let mut admin = servers.admin().await;
    let held = format!("BEGIN; UPDATE records SET value = 'held' WHERE id = {id}");
    raw_sql(sqlx::AssertSqlSafe(held)).execute(&mut admin).await.expect("held");
    let mut client = sent(&replica, &request("PUT", &format!("/data/{id}"), &started(0), "too late"));
    // It waits for the row by now, and its time is over.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let give_up = std::time::Instant::now() + crate::replica::PATIENCE;
    let mut watch = servers.admin().await;
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watch).await.expect("counted") == 0 {
        assert!(std::time::Instant::now() < give_up, "it never waits");
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    raw_sql("COMMIT").execute(&mut admin).await.expect("released");
    let answer = read_to_end(&mut client);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("deadline_exceeded"), "{answer}");
    let seen = get_until(&replica.url(&format!("/data/{id}")), |seen| seen.status == StatusCode::OK).await;
    assert_ne!(seen.body["value"], "too late", "{seen:?}");
}
