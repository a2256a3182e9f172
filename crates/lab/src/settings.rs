//! The environment of the lab: the only file that reads environment variables.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use stack::{HostEnvironment, Project, StackError};

/// Read once at the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `None` if neither the current folder nor the program is in a checkout.
    pub project: Option<Project>,
    /// The default of `--state-dir`.
    pub state_dir: PathBuf,
    pub host: HostEnvironment,
    /// The default of `--api-bin`: cargo puts both programs into the same folder.
    pub api: PathBuf,
    /// How the user called this program, for commands to copy.
    pub program: String,
    /// Whether the user can see a browser.
    pub has_desktop: bool,
}

impl Settings {
    /// The checkout, for commands that need its files.
    pub(crate) fn project(&self) -> Result<Project, StackError> {
        self.project.clone().ok_or_else(|| {
            StackError::Usage("there is no nginx/nginx.conf here or above; run lab inside the project".to_owned())
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the configuration module")]
    pub fn from_environment() -> Result<Self, StackError> {
        let failed = |what: &str, source: io::Error| StackError::Io { what: what.to_owned(), source };
        let here = env::current_dir().map_err(|error| failed("cannot tell the current folder", error))?;
        let program = env::current_exe().map_err(|error| failed("cannot tell where this program is", error))?;
        let project = Project::find([here.as_path(), program.as_path()]);
        let root = project.as_ref().map_or(here.as_path(), Project::root);
        let state_dir = env::var_os("LAB_STATE_DIR").filter(|value| !value.is_empty());
        Ok(Self {
            state_dir: state_dir.map_or_else(|| root.join(".stack"), PathBuf::from),
            host: HostEnvironment {
                search_path: env::var_os("PATH").unwrap_or_default(),
                sudo_user: env::var("SUDO_USER").ok(),
                agent: program.clone(),
            },
            api: program.parent().unwrap_or(Path::new(".")).join("api"),
            has_desktop: ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some()),
            program: env::args().next().unwrap_or_else(|| "lab".to_owned()),
            project,
        })
    }
}
