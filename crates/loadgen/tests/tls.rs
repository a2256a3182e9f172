//! `https://` against a real server, nginx from the distribution, with a certificate made for the test.

#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::{expect, refused};

/// An nginx with TLS; dropping it ends it.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// A server for `localhost` in a folder, its port, and the certificate to trust.
fn nginx(folder: &Path) -> (Nginx, u16, String) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(folder.join("large"), vec![b'x'; 300_000]).unwrap();
    let home = folder.display();
    let conf = format!(
        "daemon off; master_process off; pid {home}/pid; error_log stderr; events {{}} http {{ access_log off; \
         client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3; uwsgi_temp_path {home}/4; \
         scgi_temp_path {home}/5; server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {home}/cert.pem; \
         ssl_certificate_key {home}/key.pem; root {home}; location /data {{ return 200 ok; }} }} }}"
    );
    fs::write(folder.join("nginx.conf"), conf).unwrap();
    let program =
        ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|p| Path::new(p).exists());
    let child = Command::new(program.expect("nginx: apt-get install nginx-light"))
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let nginx = Nginx(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nginx does not listen");
        std::thread::yield_now();
    }
    (nginx, port, certificate.to_str().unwrap().to_owned())
}

#[test]
fn https_is_spoken_and_certificates_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (_nginx, port, certificate) = nginx(folder.path());
    let url = format!("https://localhost:{port}/data/1");
    let trusting = ["--ca-file", certificate.as_str()];
    let check = ["--check", "body:ok", "--fail-if", "success<100%"];
    let (out, _) = expect(0, &[&["run", &url, "-n", "500", "-c", "4"][..], &trusting, &check].concat());
    assert!(out.contains("4 opened"), "connections are kept: {out}");
    expect(0, &[&["run", &url, "-n", "50", "--no-keep-alive"][..], &trusting, &check].concat());
    let large = format!("https://localhost:{port}/large");
    let (out, _) =
        expect(0, &[&["run", &large, "-n", "40", "-c", "4"][..], &trusting, &["--fail-if", "errors>0"]].concat());
    assert!(out.contains("https://localhost"), "{out}");
    let (out, _) = expect(2, &["run", &url, "-n", "4"]);
    assert!(out.contains("connect_failed (the certificate's issuer is not trusted"), "{out}");
    let other = format!("https://127.0.0.1:{port}/data/1");
    let (out, _) = expect(2, &[&["run", &other, "-n", "4"][..], &trusting].concat());
    assert!(out.contains("the certificate is for another name"), "{out}");
    refused(&["no-such.pem"], &["run", &url, "--ca-file", "no-such.pem"]);
    let plain = format!("http://localhost:{port}/data/1");
    let (out, _) = expect(1, &["run", &plain, "-n", "4"]);
    assert!(out.contains("400"), "{out}");
}

#[test]
fn a_server_without_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        // The connection that checks the port, and the request.
        for _ in 0..2 {
            let (mut peer, _) = listener.accept().unwrap();
            let _hello = peer.read(&mut [0; 4_096]);
            let _told = peer.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (out, _) = expect(2, &["run", &url, "-n", "1", "-c", "1"]);
    assert!(out.contains("the server does not speak TLS"), "{out}");
    server.join().unwrap();
}
