//! Generates `docs/outcomes.md` from the tables of signals. The test fails when the page is out of date.

use std::{fmt::Write as _, fs, path::Path};

use strum::VariantArray;

use super::{postgres::judge as postgres, redis::judge as redis};
use crate::{error::Error, problem::Code};

const PAGE: &str = "docs/outcomes.md";

const HEAD: &str = "\
# What an outcome of a dependency means

<!-- Made from the tables in crates/api/src/dependencies/{postgres,redis}/judge.rs by
     UPDATE_DOCS=1 cargo test -p api --lib outcomes -->

Each outcome of a call to Postgres or Redis has one name and one meaning. *Breaker*: how the circuit breaker counts it;
`ignored` means that it shows nothing about the dependency. *Again*: whether the call is retried once, within the
request's deadline and the retry budget. *Outcome*: the label of `dependency_request_duration_seconds`.
";

fn word(text: &'static str) -> String {
    text.replace('_', " ")
}

fn postgres_table(page: &mut String) {
    page.push_str(
        "\n## Postgres\n\n\
         | signal | when | SQLSTATE | whose fault | breaker | connection | again | answer | log | outcome |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for signal in postgres::Signal::VARIANTS {
        let ruling = signal.ruling();
        let states: Vec<String> = postgres::SQLSTATES
            .iter()
            .filter(|(_, named)| named == signal)
            .map(|(state, _)| if state.len() < 5 { format!("`{state}…`") } else { format!("`{state}`") })
            .collect();
        let code = ruling.error.map(|error| Error::from(error).problem().code);
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | `{}` |",
            word(signal.into()),
            signal.meaning(),
            states.join(", "),
            word(ruling.fault.into()),
            word(ruling.verdict.into()),
            word(ruling.connection.into()),
            word(ruling.again.into()),
            answer(code),
            word(ruling.level.into()),
            ruling.outcome.into_str(),
        )
        .expect("into memory");
    }
}

fn answer(code: Option<Code>) -> String {
    code.map_or_else(|| "the answer".to_owned(), |code| format!("{} `{}`", code.status(), code.as_str()))
}

fn redis_table(page: &mut String) {
    page.push_str(
        "\n## Redis\n\nEvery failure is a bypass: the read goes on to Postgres, with this word as `detail` in \
         `Cache-Status`. A write remains valid.\n\n\
         | signal | when | error code | whose fault | breaker | connection | again | detail | log | outcome |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for signal in redis::Signal::VARIANTS {
        let ruling = signal.ruling();
        let codes: Vec<String> =
            redis::CODES.iter().filter(|(_, named)| named == signal).map(|(code, _)| format!("`{code}`")).collect();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | `{}` |",
            word(signal.into()),
            signal.meaning(),
            codes.join(", "),
            word(ruling.fault.into()),
            word(ruling.verdict.into()),
            word(ruling.connection.into()),
            if ruling.again { "same command" } else { "no" },
            ruling.error.map_or_else(|| "the answer".to_owned(), |error| format!("`{}`", error.as_str())),
            word(ruling.level.into()),
            ruling.outcome.into_str(),
        )
        .expect("into memory");
    }
}

#[test]
fn the_page_of_all_outcomes_is_up_to_date() {
    let mut page = HEAD.to_owned();
    postgres_table(&mut page);
    redis_table(&mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    #[expect(clippy::disallowed_methods, reason = "set by hand to write the page anew")]
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    if update {
        fs::write(&path, &page).expect("the page can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "{PAGE} is stale; UPDATE_DOCS=1 cargo test -p api --lib outcomes writes it anew");
}
