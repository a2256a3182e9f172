//! The comparisons from a user's view: two sides alternately, two recorded results, and the gates.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/program.rs"]
mod program;
#[path = "support/schema.rs"]
mod schema;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of the counts need more of it")]
mod server;

use std::fs;
use std::path::Path;

use program::{expect, refused};
use serde_json::Value;
use server::{OK, Server};

#[test]
fn two_sides_take_turns() {
    let (a, b) = (Server::answering(OK), Server::answering(OK));
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("ab.json");
    let run =
        ["ab", &a.url("/"), &b.url("/"), "--rounds", "2", "-n", "50", "-c", "2", "--json", json.to_str().unwrap()];
    let (out, _) = expect(0, &run);
    assert!(out.contains("B against A, 2 rounds") && out.contains("A against A, 2 rounds"), "{out}");
    assert_eq!((a.seen.requests(), b.seen.requests()), (300, 100));
    let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let published = serde_json::from_str(include_str!("../../../load-tests/schema/ab.schema.json")).unwrap();
    schema::check(&published, &document);
    assert_eq!((&document["schema"], document["rounds"].as_array().unwrap().len()), (&"load-ab/1".into(), 2));
    let (out, _) = expect(2, &[&run[..], &["--fail-if-worse"]].concat());
    assert!(out.contains("not judged: too few rounds"), "{out}");
    refused(&["--target"], &["ab", "sleep 1", "sleep 1"]);
}

#[test]
fn two_programs_take_turns_and_are_stopped() {
    let nginx =
        ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|p| Path::new(p).exists());
    let nginx = nginx.expect("nginx: apt-get install nginx-light");
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let command = |answer: &str| {
        let path = folder.path().join(format!("{answer}.conf"));
        let home = folder.path().display();
        let conf = format!(
            "daemon off; master_process off; pid {home}/{answer}.pid; error_log stderr; events {{}} http {{ access_log off; \
             client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3; uwsgi_temp_path {home}/4; \
             scgi_temp_path {home}/5; server {{ listen 127.0.0.1:{port}; location / {{ return 200 {answer}; }} }} }}"
        );
        fs::write(&path, conf).unwrap();
        format!("{nginx} -e stderr -p {home} -c {}", path.display())
    };
    let target = format!("http://127.0.0.1:{port}/");
    let (a, b) = (command("a"), command("b"));
    let run = ["ab", &a, &b, "--target", &target, "--rounds", "2", "-n", "20", "--no-control"];
    let (out, _) = expect(0, &run);
    assert!(out.contains("0 of 40"), "{out}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing is left running");
    refused(&["ended before it listened"], &["ab", "exit 3", &b, "--target", &target]);
    let listening = Server::answering(OK);
    refused(&["already"], &["ab", &a, &b, "--target", &listening.url("/")]);
}

#[test]
fn compare_shows_both_sides_and_passes_nothing_it_has_not_judged() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/open.json");
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/closed.json");
    let (out, _) = expect(0, &["compare", good, good]);
    assert!(out.contains("Requests per second") && out.contains("too few runs"), "{out}");
    expect(2, &["compare", good, good, "--fail-if-worse"]);
    let (out, _) = expect(2, &["compare", good, other]);
    assert!(out.contains("Not comparable: not the same load: loop open against closed"), "{out}");
    expect(0, &["compare", good, other, "--force"]);
}
