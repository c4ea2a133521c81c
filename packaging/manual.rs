//! Writes the man pages and completions of the three programs into a folder.
//!
//! `cargo run --example manual -- FOLDER DATE`, for `packaging/build`.

mod pages;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = arguments.as_slice() else {
        return Err("name a folder and a date".into());
    };
    let folder = Path::new(folder);
    for page in pages::all(date)? {
        let path = folder.join(page.path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, page.text)?;
    }
    Ok(())
}
