//! The machine that ran the generator; results of different machines are not compared.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub host: String,
    /// The model name, if the kernel reports it.
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
}

impl Machine {
    /// The current machine.
    #[must_use]
    pub fn this() -> Self {
        let names = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        Self {
            host: text(names.nodename()),
            cpu: std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| model(&info)).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: text(names.release()),
        }
    }
}

/// `model name` on x86; not available on other architectures.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && !machine.kernel.is_empty(), "{machine:?}");
        assert_eq!(model("processor\t: 0\nmodel name\t: Fast CPU\n").as_deref(), Some("Fast CPU"));
        assert_eq!(model("processor: 0\n"), None);
    }
}
