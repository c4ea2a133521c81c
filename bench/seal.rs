//! Seals one file as the dock does, into another, for `bench/envelope`: prints name and seconds.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use dockseal::envelope::manifest::{Manifest, Name, VERSION};
use dockseal::envelope::recipient::Recipients;
use dockseal::envelope::seal::seal;
use rand_core::UnwrapErr;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [recipient, source, sealed] = arguments.as_slice() else {
        return Err("usage: seal RECIPIENT SOURCE SEALED".into());
    };
    let recipients = Recipients::new(vec![recipient.parse()?])?;
    let mut file = File::open(source)?;
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let manifest = Manifest {
        version: VERSION,
        dock: "bench".into(),
        name: Name::from_path(Path::new("clip.mp4")),
        folder: Name::from_path(Path::new("")),
        camera: None,
        size_bytes: file.metadata()?.len(),
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(rng),
        more: serde_json::Map::new(),
    };
    let started = Instant::now();
    let done = seal(&mut file, &mut File::create(sealed)?, &recipients, &manifest, rng)?;
    writeln!(std::io::stderr(), "{:.3} s", started.elapsed().as_secs_f64())?;
    Ok(writeln!(std::io::stdout(), "{}", done.name)?)
}
