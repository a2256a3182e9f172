//! Text as a shell reads it back.

/// One word of a command line: as it is where a shell leaves it alone, else in quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain/path:8080", "", "a b", "it's", "$HOME", "\"x\"", "é\nü", "`id`", "\\", "~"] {
            let script = format!("printf %s {}", quote(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
        assert_eq!(quote("plain/path:8080"), "plain/path:8080");
    }
}
