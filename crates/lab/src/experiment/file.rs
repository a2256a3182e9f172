//! A user's own experiment: a TOML file with the fields of [`Experiment`].

use std::{fs, io, path::Path};

use thiserror::Error;

use super::{Experiment, Unfit};

/// Why a file is not a valid experiment.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    /// The text names the line.
    #[error("{path}: {reason}")]
    Syntax { path: String, reason: String },
    #[error("{path} makes no sense:\n{faults}")]
    Unfit { path: String, faults: Unfit },
}

/// A template: every field with a comment, and hypotheses that hold on the default stack.
pub const EXAMPLE: &str = include_str!("example.toml");

impl Experiment {
    /// # Errors
    /// The file cannot be read, a line cannot be parsed, or the experiment is invalid. All errors are reported.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| FileError::Read { path: name.clone(), source })?;
        Self::parse(&text, &name)
    }

    /// Parses the text of a file; `path` is for errors.
    ///
    /// # Errors
    /// A line cannot be parsed, or the experiment is invalid. All errors are reported.
    pub fn parse(text: &str, path: &str) -> Result<Self, FileError> {
        let experiment: Self = toml::from_str(text).map_err(|error| FileError::Syntax {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        experiment.check().map_err(|faults| FileError::Unfit { path: path.to_owned(), faults })?;
        Ok(experiment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_an_experiment() {
        let experiment = Experiment::parse(EXAMPLE, "example.toml").unwrap();
        // What is written is what is read.
        let text = serde_json::to_string(&experiment).unwrap();
        assert_eq!(serde_json::from_str::<Experiment>(&text).unwrap(), experiment);
    }

    #[test]
    fn a_bad_file_names_its_line() {
        let bad = EXAMPLE.replace("replicas = 3", "replicas = \"many\"");
        let text = Experiment::parse(&bad, "mine.toml").unwrap_err().to_string();
        let line = 1 + EXAMPLE.lines().position(|line| line.starts_with("replicas = 3")).unwrap();
        assert!(text.contains("mine.toml") && text.contains(&format!("line {line}")), "{text}");
        let unknown = EXAMPLE.replace("question =", "qestion =");
        assert!(Experiment::parse(&unknown, "mine.toml").unwrap_err().to_string().contains("qestion"));
    }

    #[test]
    fn everything_that_makes_no_sense_is_told_at_once() {
        let bad = EXAMPLE.replace("arm = \"with\"", "arm = \"wth\"").replace("at = \"4s\"", "at = \"400s\"");
        let text = Experiment::parse(&bad, "mine.toml").unwrap_err().to_string();
        assert!(text.contains("there is no arm `wth`") && text.contains("when the load is over"), "{text}");
    }
}
