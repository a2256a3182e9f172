//! The patches that put faults back belong to the API as it is: each applies, and says what it takes out.

use std::{fs, path::Path, process::Command};

#[test]
fn every_patch_applies_and_says_what_it_takes_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patches = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("put-back")).unwrap();
    let patches = patches.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("patch".as_ref()));
    let mut count = 0;
    for patch in patches {
        let name = patch.display();
        let text = fs::read_to_string(&patch).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.contains(' ')), "{name} does not say what it takes out");
        assert!(lines.next().is_some_and(|line| line.starts_with("history: --only ")), "{name} has no aim");
        // `git apply` reads the files of the folder it runs in; a checkout without history is enough.
        let applied = Command::new("git").arg("apply").arg("--check").arg(&patch).current_dir(&root).output().unwrap();
        assert!(applied.status.success(), "{name}: {}", String::from_utf8_lossy(&applied.stderr));
        count += 1;
    }
    assert!(count >= 8, "{count} patches");
}
