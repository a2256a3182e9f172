//! What runs where, as a table.

use stack::{DriverKind, Status};

/// One line per server, columns as wide as they need.
pub(crate) fn render(status: &Status) -> String {
    let number = match status.driver {
        DriverKind::Process => "PID",
        DriverKind::Compose => "CONTAINER",
    };
    let heading = ["NAME", "STATE", "ADDRESS", number, "LOG"].map(str::to_owned);
    let rows = status.servers().map(|(name, address, server)| {
        let state = match server.fault {
            Some(fault) => format!("{} ({fault})", server.state.as_str()),
            None => server.state.as_str().to_owned(),
        };
        let number = server.pid.map(|pid| pid.to_string()).or_else(|| server.container.clone());
        let log = server.log.as_ref().map(|log| log.display().to_string());
        [name.to_string(), state, address.to_owned(), number.unwrap_or("-".into()), log.unwrap_or("-".into())]
    });
    let rows: Vec<[String; 5]> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let observers = status.observability.iter().map(|(name, address)| format!("{name}: {address}"));
    let observed = (!status.observability.is_empty()).then(|| "\nwatched by".to_owned());
    let lines = rows.iter().map(line).chain(observed).chain(observers.map(|observer| format!("  {observer}")));
    lines.collect::<Vec<_>>().join("\n")
}
