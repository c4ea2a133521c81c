//! The fuzzers' corpus, replayed: what was ever found stays mended.

#[path = "../../fuzz/targets.rs"]
pub mod targets;

use std::path::Path;

#[test]
fn the_corpus_of_every_fuzzer_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let files: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            target(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
