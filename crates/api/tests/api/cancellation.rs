//! A thousand clients that disconnect in the middle of a request, while the dependencies fail and recover.

use std::{io::Write, time::Duration};

use crate::{
    http::{connect, get, get_until, metric},
    proxy::{Mode, Proxy},
    replica::Replica,
};

#[tokio::test]
async fn a_thousand_cancelled_requests_leak_nothing() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("DB_MAX_CONNECTIONS", "4")]);
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
    let body = r#"{"name":"cancelled","value":""}"#;
    for i in 0..1_000u32 {
        // Each dependency is up, then one does not answer, then one is unavailable, then both are up again.
        match i % 100 {
            0 => postgres.set(Mode::Silent),
            25 => {
                postgres.set(Mode::Pass);
                redis.set(Mode::Silent);
            }
            50 => {
                redis.set(Mode::Pass);
                postgres.set(Mode::Refuse);
            }
            75 => {
                postgres.set(Mode::Pass);
                redis.set(Mode::Refuse);
            }
            90 => redis.set(Mode::Pass),
            _ => {}
        }
        let request = match i % 3 {
            0 => format!("GET /data/{} HTTP/1.1\r\nHost: x\r\n\r\n", i + 2_000_000),
            1 => "GET /data?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            _ => format!(
                "POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        };
        let mut client = connect(replica.address);
        client.write_all(request.as_bytes()).expect("sent");
        // Disconnect at once, or while the answer is on its way.
        tokio::time::sleep(Duration::from_micros(u64::from(i % 7) * 300)).await;
    }
    let all_up = |health: &crate::http::Answer| health.body["status"] == "pass";
    get_until(&replica.url("/health"), all_up).await;
    for series in [
        "admission_in_flight 0",
        "pool_connections{dependency=\"postgres\",state=\"in_use\"} 0",
        // The one that asks.
        "http_server_active_requests 1",
    ] {
        get_until(&replica.url("/metrics"), |metrics| {
            metrics.body.as_str().is_some_and(|text| text.lines().any(|line| line == series))
        })
        .await;
    }
    get_until(&replica.url("/data/1"), |answer| answer.status.as_u16() == 200).await;
    let idle = metric(&replica.url(""), "pool_connections{dependency=\"postgres\",state=\"idle\"}").await;
    assert!(idle <= 4.0, "{idle} idle connections");
    let descriptors = metric(&replica.url(""), "process_open_fds").await;
    assert!(descriptors < 60.0, "{descriptors} descriptors");
}
