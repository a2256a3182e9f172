//! Counts add up exactly, whatever the server does, and each kind of failure has its class. The generator's counts are
//! compared with the server's.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use loadgen::{Curve, ErrorClass, Load, Outcome, Plan, Report, RequestSpec, Retries, Statuses};
use server::{OK, Peer, Server};

const MS: Duration = Duration::from_millis(1);

fn closed(url: &str, requests: u64) -> Plan {
    Plan::get(url, Load::Closed { requests: Some(requests), duration: None }).unwrap()
}

fn open(url: &str, rate: f64, length: Duration) -> Plan {
    let curve = Curve::constant(rate, length).unwrap();
    Plan::get(url, Load::Open { curve, arrivals: Default::default(), requests: None }).unwrap()
}

/// Runs to the end, and checks everything that must hold of any run.
fn run(plan: Plan) -> Report {
    let address = plan.target.resolve().unwrap()[0];
    let running = loadgen::start(plan, address).unwrap();
    let report = runtime().block_on(running.report()).unwrap();
    check(&report);
    report
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The identities of the counts.
fn check(report: &Report) {
    let summary = &report.summary;
    let classes: u64 = report.errors.iter().map(|error| error.count).sum();
    assert_eq!(summary.planned, summary.sent + summary.dropped, "planned = sent + dropped");
    assert_eq!(summary.sent, summary.answered + classes + summary.in_flight_at_end, "each that was sent has one end");
    assert_eq!(summary.unanswered, classes);
    assert_eq!(summary.answered, summary.succeeded + summary.refused);
    assert_eq!(summary.errors, summary.refused + summary.unanswered);
    assert_eq!(summary.answered, report.statuses.iter().map(|status| status.count).sum::<u64>());
    let ended = summary.answered + summary.unanswered;
    let latencies = report.histogram.good.iter().chain(&report.histogram.bad);
    assert_eq!(ended, latencies.map(|(_, count)| count).sum::<u64>(), "every end has a latency");
    assert_eq!(report.kinds.iter().map(|kind| kind.sent).sum::<u64>(), summary.sent);
    let whole = report.window(0.0, f64::MAX).unwrap();
    assert_eq!(whole.latency(), report.latency, "a window over everything is the run");
    assert_eq!((whole.summary().planned, whole.statuses()), (summary.planned, report.statuses.clone()));
    let series = |count: fn(&loadgen::Point) -> u64| report.series.iter().map(count).sum::<u64>();
    assert_eq!(series(|p| p.sent), summary.sent);
    assert_eq!(series(|p| p.dropped), summary.dropped);
    assert_eq!(series(|p| p.statuses.values().sum::<u64>() + p.errors.values().sum::<u64>()), ended);
    assert_eq!(report.series.last().map_or(0, |p| p.in_flight), summary.in_flight_at_end);
}

fn errors(report: &Report, class: ErrorClass) -> u64 {
    report.errors.iter().filter(|error| error.class == class).map(|error| error.count).sum()
}

#[test]
fn every_request_reaches_the_server_once() {
    let server = Server::answering(OK);
    for (connections, threads) in [(1, 1), (10, 1), (7, 3)] {
        let before = server.seen.requests();
        let report = run(Plan { connections, threads, ..closed(&server.url("/data/1"), 500) });
        assert_eq!(report.summary.succeeded, 500);
        assert_eq!(server.seen.requests() - before, 500);
        assert_eq!(report.connections.opened, connections as u64);
        assert_eq!(report.instances.get("api-1"), Some(&500));
        assert_eq!(report.bytes.received, 500 * OK.len() as u64);
    }
}

#[test]
fn without_keep_alive_each_request_has_its_own_connection() {
    let server = Server::start(|mut peer| async move {
        let head = peer.request().await.unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    });
    let report = run(Plan { keep_alive: false, ..closed(&server.url("/"), 50) });
    assert_eq!((report.summary.succeeded, report.connections.opened, server.seen.connections()), (50, 50, 50));
}

#[test]
fn every_kind_of_body_is_read_to_its_end() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"[..],
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let server = Server::answering(answer);
        let report = run(closed(&server.url("/"), 30));
        assert_eq!(
            (report.summary.succeeded, report.connections.opened),
            (30, 10),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
    let large = Server::start(|mut peer| async move {
        let body = vec![b'x'; 1_000_000];
        while peer.request().await.is_some() {
            if !(peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await && peer.send(&body).await) {
                return;
            }
        }
    });
    let report = run(Plan { connections: 3, ..closed(&large.url("/"), 20) });
    assert_eq!((report.summary.succeeded, report.connections.opened), (20, 3));
    let until_close = Server::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
        }
    });
    let report = run(closed(&until_close.url("/"), 20));
    assert_eq!((report.summary.succeeded, report.connections.opened), (20, 20));
    let head = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
    let mut plan = closed(&head.url("/"), 20);
    plan.requests = vec![RequestSpec { method: "HEAD".into(), ..RequestSpec::get("/") }];
    assert_eq!(run(plan).summary.succeeded, 20);
}

#[test]
fn each_failure_has_its_class() {
    let url = |server: &Server| server.url("/");
    let resets = Server::start(|mut peer| async move {
        peer.request().await;
        peer.reset();
    });
    assert_eq!(errors(&run(closed(&url(&resets), 20)), ErrorClass::Reset), 20);
    let closes = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    });
    assert_eq!(errors(&run(closed(&url(&closes), 20)), ErrorClass::Closed), 20);
    let redis = Server::answering(b"-ERR unknown command 'GET'\r\n");
    let report = run(closed(&url(&redis), 20));
    assert_eq!((errors(&report, ErrorClass::Protocol), report.verdict.outcome), (20, Outcome::Invalid));
    let banner = Server::start(|mut peer| async move {
        peer.send(b"220 mail.example.org ESMTP\r\n").await;
        peer.request().await;
    });
    assert_eq!(errors(&run(closed(&url(&banner), 20)), ErrorClass::Protocol), 20, "a server that speaks first");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = run(closed(&format!("http://{nobody}/"), 20));
    assert_eq!(errors(&report, ErrorClass::ConnectRefused), 20);
    assert!(report.verdict.invalid[0].contains("not one answer"), "{:?}", report.verdict);
}

#[test]
fn a_server_that_never_answers_costs_its_time_out_and_is_in_the_percentiles() {
    let hung = Server::start(|peer: Peer| async move {
        let _open = peer;
        std::future::pending::<()>().await;
    });
    let report = run(Plan { timeout: MS * 200, connections: 4, ..closed(&hung.url("/"), 12) });
    assert_eq!(errors(&report, ErrorClass::Timeout), 12);
    let p50 = report.latency.bad.as_ref().unwrap().p50_ms;
    assert!((200.0..260.0).contains(&p50), "{p50}");
    assert_eq!(report.connections.opened, 12, "a connection whose request timed out is not used again");
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_no_request() {
    // Announces keep-alive, and closes after each answer.
    let server = Server::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.send(OK).await;
        }
    });
    let report = run(Plan { connections: 4, ..closed(&server.url("/"), 400) });
    assert_eq!(server.seen.requests(), report.summary.succeeded, "what was lost never reached the application");
    assert_eq!(errors(&report, ErrorClass::ResetReused), 0, "used again at once, no connection was idle");
    let slow = run(open(&server.url("/"), 50.0, MS * 600));
    assert_eq!(slow.summary.succeeded, 30, "with time to notice the end, no request is lost: {:?}", slow.errors);
    assert_eq!(slow.connections.opened, 30, "none was used after its end");
}

/// Answers the first request of each connection, and breaks some time after it got the second.
fn breaking_down(after: Duration, reset: bool) -> Server {
    Server::start(move |mut peer| async move {
        if peer.request().await.is_some() && peer.send(OK).await && peer.request().await.is_some() {
            // A sleep of zero takes a millisecond.
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            if reset {
                peer.reset();
            }
        }
    })
}

#[test]
fn a_server_that_breaks_down_over_a_request_is_no_idle_race() {
    for (reset, class) in [(true, ErrorClass::Reset), (false, ErrorClass::Closed)] {
        let server = breaking_down(MS * 20, reset);
        let report = run(Plan { connections: 1, ..open(&server.url("/"), 20.0, MS * 400) });
        assert_eq!(report.summary.succeeded, 4, "{:?}", report.errors);
        assert_eq!((errors(&report, class), errors(&report, ErrorClass::ResetReused)), (4, 0), "{:?}", report.errors);
    }
}

#[test]
fn a_request_that_met_the_end_of_its_idle_connection_is_sent_again_unless_it_is_a_post() {
    for method in ["GET", "DELETE", "POST"] {
        let server = breaking_down(Duration::ZERO, true);
        let mut plan = Plan { connections: 1, ..open(&server.url("/"), 100.0, MS * 1_000) };
        plan.requests[0].method = method.to_owned();
        let report = run(plan);
        let (resent, failed) = (report.connections.resent, report.summary.unanswered);
        // On a busy machine a loss may take longer than a round trip, and is then a reset.
        assert_eq!(failed, errors(&report, ErrorClass::Reset) + errors(&report, ErrorClass::ResetReused));
        if method == "POST" {
            assert_eq!((resent, report.summary.succeeded), (0, 50), "every second one was lost: {:?}", report.errors);
        } else {
            assert!(resent > 0 && errors(&report, ErrorClass::ResetReused) == 0, "{method}: {:?}", report.errors);
            assert_eq!(report.summary.succeeded + failed, 100);
        }
    }
}

#[test]
fn beyond_the_cap_an_open_loop_drops_and_says_so() {
    let hung = Server::start(|peer: Peer| async move {
        let _open = peer;
        std::future::pending::<()>().await;
    });
    let report = run(Plan { connections: 5, timeout: Duration::from_secs(5), ..open(&hung.url("/"), 100.0, MS * 500) });
    assert_eq!((report.summary.planned, report.summary.sent, report.summary.dropped), (50, 5, 45));
    assert!(report.verdict.notes.iter().any(|note| note.contains("45 of 50 planned requests were dropped")));
    assert!(report.verdict.invalid.iter().any(|reason| reason.contains("90.0 % of the planned requests were dropped")));
    assert!(report.verdict.notes.iter().any(|note| note.contains("target rate missed")));
    assert_eq!(report.summary.success_ratio, 0.0);
}

#[test]
fn an_open_loop_plans_rate_times_time_whatever_the_threads() {
    let server = Server::answering(OK);
    for threads in [1, 3] {
        let report = run(Plan { threads, ..open(&server.url("/"), 300.0, Duration::from_secs(1)) });
        assert_eq!((report.summary.planned, report.summary.succeeded), (300, 300));
    }
}

/// A failure is counted in the second in which its request was planned, not in the one in which it ended.
#[test]
fn a_fault_is_seen_in_the_second_in_which_it_was() {
    let begin = std::sync::Arc::new(std::sync::OnceLock::new());
    let server = Server::start(move |mut peer| {
        let begin = begin.clone();
        async move {
            while peer.request().await.is_some() {
                let since = begin.get_or_init(std::time::Instant::now).elapsed();
                // Hung within the third quarter of a second, by the server's clock, which begins a moment after the plan's;
                // what came meanwhile is answered at 1.5 s.
                if (MS * 510..MS * 730).contains(&since) {
                    tokio::time::sleep(MS * 1_500 - since).await;
                }
                if !peer.send(OK).await {
                    return;
                }
            }
        }
    });
    let report = run(Plan { interval: MS * 250, ..open(&server.url("/"), 200.0, MS * 2_000) });
    let slow: Vec<f64> =
        report.series.iter().filter(|point| point.max_ms > Some(700.0)).map(|point| point.at_s).collect();
    assert_eq!(slow, [0.5], "{:?}", report.series);
    let fault = report.window(0.5, 0.75).unwrap();
    assert_eq!((fault.from_s, fault.to_s, fault.summary().planned), (0.5, 0.75, 50));
    assert!(fault.summary().p50_ms > Some(700.0), "{:?}", fault.latency());
    let mut others = report.window(0.0, 0.5).unwrap();
    others.add(&report.window(0.75, 2.0).unwrap());
    assert_eq!((others.summary().planned, others.seconds), (350, 1.75));
    assert!(others.summary().p95_ms < Some(300.0), "{:?}", others.latency());
}

#[test]
fn each_kind_of_request_is_measured_by_itself() {
    let server = Server::start(|mut peer| async move {
        while let Some(head) = peer.request().await {
            if head.starts_with("GET /slow") {
                tokio::time::sleep(MS * 50).await;
            }
            if !peer.send(OK).await {
                return;
            }
        }
    });
    let mut plan = closed(&server.url("/"), 200);
    plan.requests = vec![
        RequestSpec { name: Some("slow".into()), ..RequestSpec::get("/slow") },
        RequestSpec { weight: 3.0, ..RequestSpec::get("/fast") },
        RequestSpec { weight: 3.0, ..RequestSpec::get("/fast") },
    ];
    plan.fail_if = vec!["kind.slow.p50<50ms".parse().unwrap(), "kind.GET /fast.p50>=50ms".parse().unwrap()];
    let report = run(plan.clone());
    let names: Vec<&str> = report.kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["slow", "GET /fast", "GET /fast #2"]);
    assert_eq!(report.verdict.outcome, Outcome::Held, "{:?}", report.verdict);
    plan.fail_if = vec!["kind.nobody.p50>1ms".parse().unwrap()];
    assert!(plan.check().unwrap_err().to_string().contains("slow, GET /fast"));
}

/// In a burst each send takes its time. Thousands of connections cannot be opened within a millisecond.
#[test]
fn each_send_of_a_burst_has_its_own_time() {
    let server = Server::answering(OK);
    let curve = Curve::constant(1_000_000.0, MS * 3).unwrap();
    let load = Load::Open { curve, arrivals: Default::default(), requests: None };
    let report = run(Plan { connections: 3_000, ..Plan::get(&server.url("/"), load).unwrap() });
    assert_eq!(report.summary.sent, 3_000, "{:?}", report.errors);
    assert!(report.summary.late > 2_000, "{:?}", report.summary);
}

#[test]
fn the_real_rate_ends_with_the_real_last_send() {
    let server = Server::answering(OK);
    let report = run(open(&server.url("/"), 100.0, MS * 500));
    let (target, sent) = (report.summary.target_rate.unwrap(), report.summary.sent_rate.unwrap());
    assert!((target - 100.0).abs() < 1e-6, "{target}");
    assert!(sent <= target && sent > 90.0, "{sent}");
    let curve = Curve::constant(100.0, Duration::from_secs(60)).unwrap();
    let load = Load::Open { curve, arrivals: Default::default(), requests: Some(30) };
    let report = run(Plan::get(&server.url("/"), load).unwrap());
    let target = report.summary.target_rate.unwrap();
    assert!((target - 100.0).abs() < 1e-6, "30 requests of a schedule of 100 per second: {target}");
}

#[test]
fn a_run_ends_when_a_condition_is_broken() {
    let server = Server::answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let mut plan = Plan { interval: MS * 50, ..open(&server.url("/"), 100.0, Duration::from_secs(60)) };
    plan.fail_if = vec!["success<50%".parse().unwrap()];
    plan.abort = true;
    let report = run(plan);
    assert_eq!((report.ending, report.verdict.outcome), (loadgen::Ending::Aborted, Outcome::Deviated));
    assert!(report.summary.elapsed_s < 10.0 && report.summary.planned > 0, "{:?}", report.summary);
}

#[test]
fn a_unix_socket_and_all_addresses_in_turn() {
    let servers = [Server::answering(OK), Server::answering(OK), Server::answering(OK)];
    let all = servers.iter().map(|server| loadgen::Address::Tcp(server.address)).collect();
    let plan = Plan { connections: 9, ..closed(&servers[0].url("/"), 90) };
    let running = loadgen::start(plan, loadgen::Addresses::new(all).unwrap()).unwrap();
    check(&runtime().block_on(running.report()).unwrap());
    assert_eq!(servers.each_ref().map(|server| server.seen.connections()), [3, 3, 3]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let plan = Plan { connections: 1, ..closed(&format!("unix:{}:/data/1", path.display()), 1) };
    let addresses = plan.target.reach(Duration::from_secs(1)).unwrap();
    let running = loadgen::start(plan, addresses).unwrap();
    let (_probe, _) = listener.accept().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let mut request = [0; 4_096];
    let length = std::io::Read::read(&mut peer, &mut request).unwrap();
    assert!(request[..length].starts_with(b"GET /data/1 HTTP/1.1\r\nHost: localhost\r\n"));
    std::io::Write::write_all(&mut peer, OK).unwrap();
    let report = runtime().block_on(running.report()).unwrap();
    assert_eq!(report.summary.succeeded, 1, "{:?}", report.errors);
}

#[test]
fn statuses_codes_and_retries_are_counted() {
    let busy = b"HTTP/1.1 503 Busy\r\nContent-Type: application/problem+json\r\nX-Instance: api-2\r\nContent-Length: 21\r\n\r\n{\"code\":\"overloaded\"}";
    let server = Server::answering(busy);
    let retries = Retries { attempts: 3, backoff_ms: 1.0, on: Statuses::server_errors(), budget: None };
    let report = run(Plan { retries, ..closed(&server.url("/"), 40) });
    assert_eq!((report.summary.refused, report.summary.retries, server.seen.requests()), (40, 80, 120));
    let [status] = report.statuses.as_slice() else { panic!("{:?}", report.statuses) };
    assert_eq!((status.status, status.code.as_deref(), status.count), (503, Some("overloaded"), 40));
    let tolerant = run(Plan { success: Statuses::parse("503").unwrap(), ..closed(&server.url("/"), 40) });
    assert_eq!(tolerant.summary.success_ratio, 1.0);
}

#[test]
fn the_warm_up_is_sent_and_not_recorded() {
    let server = Server::answering(OK);
    let report = run(Plan { warmup: MS * 300, ..open(&server.url("/"), 100.0, MS * 500) });
    assert_eq!((report.summary.sent, report.generator.warmup_requests), (50, 30));
    assert_eq!(server.seen.requests(), 80);
    let report = run(Plan { warmup: MS * 100, ..closed(&server.url("/"), 30) });
    assert_eq!(report.summary.sent, 30);
    assert_eq!(server.seen.requests(), 80 + 30 + report.generator.warmup_requests);
}

#[test]
fn a_cancelled_run_reports_what_is_in_flight_and_a_finished_one_waits() {
    let slow = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(MS * 300).await;
            peer.send(OK).await;
        }
    });
    for cancel in [true, false] {
        let plan = Plan { interval: MS * 50, ..open(&slow.url("/"), 100.0, Duration::from_secs(60)) };
        let report = runtime().block_on(async {
            let address = plan.target.resolve().unwrap()[0];
            let mut running = loadgen::start(plan, address).unwrap();
            // Far enough for answers to have arrived.
            while running.next_point().await.unwrap().succeeded == 0 {}
            if cancel {
                running.stopper().cancel();
            } else {
                running.stopper().finish();
            }
            running.report().await.unwrap()
        });
        check(&report);
        assert!(report.summary.elapsed_s < 10.0);
        if cancel {
            assert_eq!(report.verdict.outcome, Outcome::Interrupted);
            assert!(report.summary.in_flight_at_end > 10, "{:?}", report.summary);
        } else {
            assert_eq!((report.ending, report.summary.in_flight_at_end), (loadgen::Ending::FinishedEarly, 0));
            assert_eq!(report.summary.succeeded, report.summary.sent);
        }
    }
}

/// Answers that are truncated, corrupted, duplicated or late, in random pieces, over connections that end in every way:
/// nothing hangs, nothing panics, and the counts are exact.
#[test]
fn noise_on_the_wire_is_counted() {
    let seeds = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1));
    let server = Server::start(move |mut peer| {
        let seed = seeds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut chance = fastrand::Rng::with_seed(seed);
        async move {
            while peer.request().await.is_some() {
                let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec();
                match chance.u8(0..8) {
                    0 => bytes.truncate(chance.usize(0..bytes.len())),
                    1 => {
                        let length = chance.usize(0..300);
                        bytes = std::iter::repeat_with(|| chance.u8(..)).take(length).collect();
                    }
                    2 => {
                        let at = chance.usize(0..bytes.len());
                        bytes[at] = chance.u8(..);
                    }
                    3 => bytes.extend_from_within(..chance.usize(0..20)),
                    _ => {}
                }
                while !bytes.is_empty() {
                    let rest = bytes.split_off(chance.usize(1..=bytes.len()));
                    if !peer.send(&bytes).await {
                        return;
                    }
                    bytes = rest;
                    tokio::task::yield_now().await;
                }
                match chance.u8(0..10) {
                    0 => return peer.reset(),
                    1 => return,
                    _ => {}
                }
            }
        }
    });
    let report = run(Plan { timeout: MS * 40, connections: 16, ..closed(&server.url("/"), 2_000) });
    assert_eq!(report.summary.planned, 2_000);
    assert!(report.summary.succeeded > 500, "{:?}", report.summary);
    for class in [ErrorClass::Protocol, ErrorClass::Timeout, ErrorClass::Reset, ErrorClass::Closed] {
        assert!(errors(&report, class) > 0, "{class:?}: {:?}", report.errors);
    }
}
