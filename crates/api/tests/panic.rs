//! A panic is one line of the log. This test is a separate program that starts itself again, because the panic hook
//! belongs to the whole process.

use std::process::{Command, Stdio};

const CHILD: &str = "--panic";

fn main() {
    if std::env::args().any(|argument| argument == CHILD) {
        api::telemetry::start("info");
        let panicked = std::thread::Builder::new().name("worker".to_owned()).spawn(|| panic!("of \"this\"\nand {}", 1));
        assert!(panicked.expect("started").join().is_err());
        return;
    }
    let itself = std::env::current_exe().expect("this program");
    let output = Command::new(itself).arg(CHILD).stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines: Vec<&str> = str::from_utf8(&output.stdout).expect("text").lines().collect();
    let [line] = lines[..] else { panic!("one line was expected: {lines:?}") };
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    for (field, value) in
        [("level", "ERROR"), ("message", "panic"), ("cause", "of \"this\"\nand 1"), ("thread", "worker")]
    {
        assert_eq!(line[field], value, "{line}");
    }
    assert!(line["location"].as_str().is_some_and(|location| location.contains("panic.rs:")), "{line}");
    println!("a panic is one line of the log: ok");
}
