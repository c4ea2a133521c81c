//! Tests that the documents name as what holds a promise: each must be there.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["docs/faults.md", "docs/threat-model.md"];
/// The last word where a document means the unit tests of a module.
const UNIT_TESTS: &str = "tests";

/// The words in backticks that are paths of tests.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| {
            word.contains("::") && !word.ends_with(':') && !word.contains(['…', ' ', '('])
        })
        .collect()
}

/// Whether a name such as `faults::clock::*` or `kill::a_dock_*` is that of a test.
fn is_there(root: &Path, name: &str) -> bool {
    let segments: Vec<_> = name.split("::").collect();
    let (folder, modules, test) = match segments.as_slice() {
        ["fire", _] => ("tests", &segments[..], "*"),
        ["fire", .., test] => ("tests", &segments[..segments.len() - 1], *test),
        [modules @ .., UNIT_TESTS] => ("src", modules, "*"),
        [modules @ .., test] => ("tests/it", modules, *test),
        [] => return false,
    };
    let file: PathBuf =
        [root.to_str().unwrap(), folder].into_iter().chain(modules.to_vec()).collect();
    // The tests of a module are in it, or in the file beside it.
    let code = [file.with_extension("rs"), file.join("mod.rs")].map(std::fs::read_to_string);
    let Some(code) = code.into_iter().find_map(Result::ok) else { return false };
    // Of a whole name, its parameters follow.
    let begin = test.strip_suffix('*').map_or(format!("{test}("), str::to_owned);
    code.contains(&format!("fn {begin}"))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let names = named(&text);
        assert!(names.len() > 20, "{document} names {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !is_there(root, name)).collect();
        assert!(missing.is_empty(), "{document} names what is not there: {missing:?}");
    }
    for name in ["kill::a_dock_killed_*", "fire::kill", "dock::erase::tests", "faults::*"] {
        assert!(is_there(root, name), "{name}");
    }
    for name in ["kill::a_dock_that_was_never_*", "fire::love", "dock::lorry::tests", "luck::*"] {
        assert!(!is_there(root, name), "{name}");
    }
}
