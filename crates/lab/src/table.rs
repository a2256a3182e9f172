//! The status of the stack as a table.

use stack::{ActiveFault, DriverKind, Status};

/// `  redis  slow by 50ms, for 12 s: an exchange takes 50.3 ms; by lab fault slow redis (pid 4711)`
fn fault(fault: &ActiveFault) -> String {
    let evidence = fault.evidence.as_deref().unwrap_or("not confirmed");
    let age = fault.age().as_secs();
    format!("  {}  {}, for {age} s: {evidence}; by {}", fault.target, fault.kind, fault.by)
}

/// One line per server, with columns as wide as necessary.
pub(crate) fn render(status: &Status) -> String {
    let number = match status.driver {
        DriverKind::Process => "PID",
        DriverKind::Compose => "CONTAINER",
    };
    let heading = ["NAME", "STATE", "ADDRESS", number, "LOG"].map(str::to_owned);
    let rows = status.servers().map(|(name, address, server)| {
        let faults: Vec<&str> = server.faults.iter().map(|fault| fault.kind.name()).collect();
        let state = match faults.as_slice() {
            [] => server.state.as_str().to_owned(),
            faults => format!("{} ({})", server.state.as_str(), faults.join(", ")),
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
    let faults: Vec<String> = status.faults().map(fault).collect();
    let broken = (!faults.is_empty()).then(|| "\nfaults".to_owned());
    let holder = status.session.iter().map(|holder| format!("\nheld by {holder}"));
    let observers = status.observability.iter().map(|(name, address)| format!("{name}: {address}"));
    let observed = (!status.observability.is_empty()).then(|| "\nwatched by".to_owned());
    let lines = rows
        .iter()
        .map(line)
        .chain(holder)
        .chain(broken)
        .chain(faults)
        .chain(observed)
        .chain(observers.map(|observer| format!("  {observer}")));
    lines.collect::<Vec<_>>().join("\n")
}
