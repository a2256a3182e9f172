//! Checks the dependencies between modules in the sources: a driver depends on the interface and on what is below it,
//! never on the other driver, the stack or a session; modules that both use depend on neither.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Every top-level module of the crate with the modules that its files name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules: Vec<String> = fs::read_dir(&root)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "lib")
        .collect();
    let mut found = BTreeMap::new();
    for module in &modules {
        let mut text = fs::read_to_string(root.join(format!("{module}.rs"))).unwrap();
        collect(&root.join(module), &mut text);
        // Comments may name modules that the code does not use.
        let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let mut named: BTreeSet<String> = BTreeSet::new();
        for (place, _) in code.match_indices("crate::") {
            let rest = &code[place + "crate::".len()..];
            let end = if rest.starts_with('{') { closing(rest) } else { rest.find([';', '(', ')', ',']).unwrap_or(0) };
            let words = rest[..end].split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            named.extend(words.filter(|word| modules.iter().any(|known| known == word)).map(str::to_owned));
        }
        named.remove(module);
        found.insert(module.clone(), named);
    }
    found
}

fn collect(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The position of the brace that closes the opening brace of a text.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (place, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return place;
        }
    }
    text.len()
}

#[test]
fn drivers_depend_on_the_interface_and_one_file_chooses() {
    let dependencies = dependencies();
    let of = |module: &str| &dependencies[module];
    for driver in ["process", "compose"] {
        assert!(of(driver).contains("driver"), "no dependency was found: {dependencies:#?}");
        for forbidden in ["process", "compose", "stack", "session", "guard", "lock"] {
            assert!(!of(driver).contains(forbidden), "{driver} depends on {forbidden}");
        }
        let who: Vec<_> = dependencies.iter().filter(|(_, known)| known.contains(driver)).map(|(who, _)| who).collect();
        assert_eq!(who, ["stack"], "modules that depend on {driver}");
    }
    for below in ["supervise", "record", "folder", "probe", "proxy", "sql", "lock", "interrupt", "topology", "target"] {
        for above in ["driver", "fault", "session", "stack"] {
            // Types that all modules share are named through the crate, not through their module.
            assert!(!of(below).contains(above), "{below} depends on {above}");
        }
    }
}
