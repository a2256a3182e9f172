//! The hot path: a cached `GET /data/{id}` with every mechanism on, against a bare axum route on the same core.
//!
//! `make bench`. Servers are pinned to one core, the load generator and Redis to the other. The three servers take
//! turns, so that other load on the machine affects all of them. The ratio of requests per second is the verdict; the
//! CPU time per request, as counted by the kernel, confirms it without the client.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lab::Settings;
use serde_json::Value;
use stack::{DriverKind, Operation, Stack, UpOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONNECTIONS: &str = "32";
/// Kernel clock ticks per second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

struct Contender {
    name: &'static str,
    /// The required share of the bare route's requests per second.
    budget: Option<f64>,
    url: String,
    /// Whether its metrics are scraped once a second during the measurement.
    scraped: bool,
    server: Server,
    rps: Vec<f64>,
    cpu_us: Vec<f64>,
}

/// A process that is ended on drop.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn main() -> Result<()> {
    // `cargo bench` passes --bench; with --quick one short round shows that the benchmark runs.
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, seconds) = if quick { (1, 1) } else { (7, 3) };
    let programs = std::env::current_exe()?.ancestors().nth(2).ok_or("no target folder")?.to_owned();
    for name in ["api", "load", "examples/bare"] {
        if !programs.join(name).exists() {
            return Err(format!("{name} is missing in {}; `make bench` builds it", programs.display()).into());
        }
    }
    let place = tempfile::tempdir()?;
    let settings = Settings::from_environment()?;
    let options = UpOptions {
        driver: DriverKind::Process,
        folder: place.path().join("stack"),
        project: settings.project.clone().ok_or("not inside the project")?,
        host: settings.host,
        replicas: 1,
        phase: None,
        env: Vec::new(),
        port: Some(0),
        cpus: None,
        api: programs.join("api"),
        install: true,
    };
    let stack = Stack::up(&options, &Operation::default())?;
    let measured = measure(&stack, &programs, rounds, seconds);
    drop(stack);
    stack::down(&options.folder, true, &Operation::default())?;
    print(&measured?);
    Ok(())
}

fn measure(stack: &Stack, programs: &Path, rounds: usize, seconds: u64) -> Result<Vec<Contender>> {
    let (serving, asking) = cores()?;
    let redis = stack.status()?.dependencies.redis.server.pid.ok_or("Redis has no process")?;
    run(Command::new("taskset").args(["-pc", &asking, &redis.to_string()]))?;
    let mut contenders = vec![
        Contender::bare(programs, &serving)?,
        Contender::api("cached read, no access log", 0.55, "off", stack, programs, &serving)?,
        Contender::api("cached read, access log", 0.45, "on", stack, programs, &serving)?,
        Contender {
            scraped: true,
            ..Contender::api("the same, scraped each second", 0.45, "on", stack, programs, &serving)?
        },
        Contender::near("near hit, no access log", 0.85, "off", stack, programs, &serving)?,
        Contender::near("near hit, access log", 0.75, "on", stack, programs, &serving)?,
    ];
    for contender in &contenders {
        contender.wait_until_it_answers()?;
    }
    for round in 1..=rounds {
        for contender in &mut contenders {
            eprintln!("round {round} of {rounds}: {}", contender.name);
            contender.round(programs, &asking, seconds)?;
        }
    }
    Ok(contenders)
}

impl Contender {
    fn bare(programs: &Path, core: &str) -> Result<Self> {
        let address = free_address()?;
        let mut command = pinned(core, &programs.join("examples/bare"));
        command.arg(&address);
        Self::start("bare axum route", None, &address, command)
    }

    fn api(name: &'static str, budget: f64, log: &str, stack: &Stack, programs: &Path, core: &str) -> Result<Self> {
        Self::replica(name, budget, &[("ACCESS_LOG", log)], stack, programs, core)
    }

    fn near(name: &'static str, budget: f64, log: &str, stack: &Stack, programs: &Path, core: &str) -> Result<Self> {
        Self::replica(name, budget, &[("ACCESS_LOG", log), ("NEAR_CACHE", "on")], stack, programs, core)
    }

    fn replica(
        name: &'static str,
        budget: f64,
        variables: &[(&str, &str)],
        stack: &Stack,
        programs: &Path,
        core: &str,
    ) -> Result<Self> {
        let address = free_address()?;
        let endpoints = stack.endpoints()?;
        let mut command = pinned(core, &programs.join("api"));
        command.arg("serve").env("LISTEN_ADDR", &address).envs(variables.iter().copied());
        command.env("DATABASE_URL", endpoints.postgres_url.ok_or("Postgres has no address")?);
        command.env("REDIS_URL", endpoints.redis_url.ok_or("Redis has no address")?);
        Self::start(name, Some(budget), &address, command)
    }

    fn start(name: &'static str, budget: Option<f64>, address: &str, mut command: Command) -> Result<Self> {
        let server = Server(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let url = format!("http://{address}/data/1");
        Ok(Self { name, budget, url, scraped: false, server, rps: vec![], cpu_us: vec![] })
    }

    /// A cache hit, if there is a cache.
    fn wait_until_it_answers(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            match stack::get(&self.url, Duration::from_secs(1)) {
                Ok(answer)
                    if answer.status == 200
                        && answer.header("cache-status").is_none_or(|cache| cache.contains("hit")) =>
                {
                    return Ok(());
                }
                _ if Instant::now() > give_up => return Err(format!("{} does not answer", self.name).into()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn round(&mut self, programs: &Path, core: &str, seconds: u64) -> Result<()> {
        let before = cpu_seconds(self.server.0.id())?;
        let mut load = pinned(core, &programs.join("load"));
        load.args(["run", &self.url, "--connections", CONNECTIONS, "--duration", &format!("{seconds}s")]);
        let file = tempfile::NamedTempFile::new()?;
        let metrics = self.url.replace("/data/1", "/metrics");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let scraper = self.scraped.then(|| {
            std::thread::spawn(move || {
                while stopped.recv_timeout(Duration::from_secs(1)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    drop(stack::get(&metrics, Duration::from_secs(1)));
                }
            })
        });
        let output = load.arg("--json").arg(file.path()).stdin(Stdio::null()).output()?;
        drop(stop);
        if let Some(scraper) = scraper {
            scraper.join().map_err(|_| "the scraper panicked")?;
        }
        let report: Value = serde_json::from_slice(&fs::read(file.path())?)
            .map_err(|error| format!("load wrote no JSON ({error}): {}", String::from_utf8_lossy(&output.stderr)))?;
        let number = |name: &str| report["summary"][name].as_f64().ok_or(format!("load's summary has no {name}"));
        if number("success_ratio")? < 1.0 {
            return Err(format!("{}: not every answer was good", self.name).into());
        }
        self.rps.push(number("requests_per_second")?);
        self.cpu_us.push((cpu_seconds(self.server.0.id())? - before) * 1e6 / number("sent")?);
        Ok(())
    }
}

fn print(contenders: &[Contender]) {
    let Some(bare) = contenders.first() else { return };
    let (bare_rps, bare_cpu) = (median(&bare.rps), median(&bare.cpu_us));
    println!("\n{:30} {:>12} {:>7} {:>8} {:>14} {:>7}", "", "requests/s", "ratio", "budget", "CPU µs/request", "ratio");
    for contender in contenders {
        let (rps, cpu) = (median(&contender.rps), median(&contender.cpu_us));
        let budget = contender.budget.map_or_else(String::new, |budget| format!("≥ {budget:.2}"));
        println!(
            "{:30} {rps:>12.0} {:>7.2} {budget:>8} {cpu:>14.1} {:>7.2}",
            contender.name,
            rps / bare_rps,
            bare_cpu / cpu
        );
    }
    println!(
        "\nMedians of {} rounds, {CONNECTIONS} connections, servers on one core, client and Redis on another.",
        bare.rps.len()
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// The first two cores that this process may use: one for the servers, one for the clients.
fn cores() -> Result<(String, String)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).ok_or("no list of cores")?;
    let mut cores = list.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap_or(0)..=last.parse::<u32>().unwrap_or(0)
    });
    match (cores.next(), cores.next()) {
        (Some(serving), Some(asking)) => Ok((serving.to_string(), asking.to_string())),
        _ => Err("two cores are needed: one serves, one asks".into()),
    }
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat")))?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("unreadable stat")?.1.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
    Ok((ticks(14).ok_or("unreadable stat")? + ticks(15).ok_or("unreadable stat")?) / TICKS_PER_SECOND)
}

fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
