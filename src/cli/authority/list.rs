//! `dockseal-authority list`: what a bucket holds.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::{Complaint, Exit, bytes_for_people, print_json};
use super::{BucketArgs, IdentityArgs, NameJson, bucket_complaint, runtime};
use crate::authority::catalogue::{self, ListError, Listed};
use crate::authority::open::{ManifestFinding, OpenError};
use crate::clip::{SealedName, printable};
use crate::envelope::manifest::Manifest;

/// Lists the clips in a bucket by name, camera and time
///
/// Reads only the first bytes of each object, so it says what a clip is, not whether all of it is
/// whole: `open` does. Names are what the dock wrote; where they come from is not checked.
/// Exits with 3 where some object could not be read.
#[derive(clap::Args)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH
    bucket: String,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    access: BucketArgs,
    /// All there is in one wide line a clip: the whole sealed name, the time of recording
    #[arg(long, conflicts_with = "json")]
    long: bool,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let identities = Arc::new(args.identity.read()?);
    let bucket = args.access.open(&args.bucket)?;
    let title = || format!("cannot list {}", printable(Path::new(&args.bucket)));
    let bar = progress_bar();
    let seen = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let listing = catalogue::list(&bucket, &identities, &seen);
    let listed = runtime()?.block_on(listing);
    bar.finish_and_clear();
    let mut listed = listed.map_err(|error| bucket_complaint(title(), &error))?;
    sort(&mut listed);
    let out = &mut io::stdout().lock();
    if args.json {
        print_json(out, &ListJson::new(&args.bucket, &listed))?;
    } else {
        let layout = if args.long { Layout::Long } else { Layout::Short };
        write_table(out, &listed, layout)?;
    }
    let all_read = listed.iter().all(|one| problem(one).is_none());
    Ok(if all_read { Exit::Ok } else { Exit::Partial })
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("reading {pos} of {len} clips {wide_bar} {eta}")
        .expect("a fixed, valid template");
    ProgressBar::no_length().with_style(style)
}

/// By the time of sealing; what has none goes last, by the time of storing.
fn sort(listed: &mut [Listed]) {
    listed.sort_by(|a, b| {
        let key = |one: &Listed| {
            let sealed = manifest(one).map(|manifest| manifest.sealed);
            (sealed.is_none(), sealed.unwrap_or(one.object.stored))
        };
        key(a).cmp(&key(b)).then_with(|| a.object.key.cmp(&b.object.key))
    });
}

fn manifest(listed: &Listed) -> Option<&Manifest> {
    match &listed.finding {
        Ok(ManifestFinding::Found(manifest)) => Some(manifest),
        Ok(ManifestFinding::Absent | ManifestFinding::Unreadable(_)) | Err(_) => None,
    }
}

/// The stable word of what is wrong with an object, and its text; `None` where nothing is.
fn problem(listed: &Listed) -> Option<(&'static str, String)> {
    match &listed.finding {
        Ok(ManifestFinding::Found(_) | ManifestFinding::Absent) => None,
        Ok(ManifestFinding::Unreadable(error)) => Some(("manifest-unreadable", error.to_string())),
        Err(error) => {
            let code = match error {
                ListError::Bucket(_) => "bucket-failed",
                ListError::Misnamed => "misnamed",
                ListError::Open(OpenError::NoIdentity { .. }) => "no-identity",
                ListError::Open(OpenError::Plugin(_)) => "plugin-failed",
                ListError::Open(
                    OpenError::Header(_)
                    | OpenError::Mac(_)
                    | OpenError::Payload(_)
                    | OpenError::Stanza(_),
                ) => "tampered",
            };
            Some((code, crate::error::chain(error)))
        }
    }
}

#[derive(Clone, Copy)]
enum Layout {
    /// Fits 80 columns with the usual names.
    Short,
    /// All columns.
    Long,
}

impl Layout {
    fn titles(self) -> &'static [&'static str] {
        match self {
            Layout::Short => &["CLIP", "SEALED", "SIZE", "DOCK", "CAMERA", "NAME"],
            Layout::Long => {
                &["CLIP", "SEALED", "MODIFIED", "SIZE", "DOCK", "CAMERA", "FOLDER", "NAME"]
            }
        }
    }

    fn row(self, name: SealedName, manifest: &Manifest) -> Vec<String> {
        let clip = name.to_string();
        let text = |text: &str| printable(Path::new(text));
        let camera = manifest.camera.as_deref().map_or("-".into(), text);
        let path = |name: &crate::envelope::manifest::Name| {
            name.to_path().map_or("?".into(), |path| printable(&path))
        };
        let size = bytes_for_people(manifest.size_bytes);
        let dock = text(&manifest.dock);
        let name = path(&manifest.name);
        match self {
            Layout::Short => {
                let sealed = manifest.sealed.strftime("%Y-%m-%d %H:%M").to_string();
                let clip = clip[..8].to_owned();
                vec![clip, sealed, size, shorten(dock, 16), shorten(camera, 12), name]
            }
            Layout::Long => {
                let sealed = format!("{:.0}", manifest.sealed);
                let modified = format!("{:.0}", manifest.modified);
                let folder = path(&manifest.folder);
                vec![clip, sealed, modified, size, dock, camera, folder, name]
            }
        }
    }
}

fn shorten(text: String, columns_max: usize) -> String {
    match text.char_indices().nth(columns_max) {
        None => text,
        Some(_) => text.chars().take(columns_max - 1).chain(['…']).collect(),
    }
}

fn write_table(out: &mut impl Write, listed: &[Listed], layout: Layout) -> io::Result<()> {
    let titles = layout.titles();
    let mut rows = vec![titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>()];
    let mut problems = Vec::new();
    for one in listed {
        match (manifest(one), one.name, problem(one)) {
            (Some(manifest), Some(name), _) => rows.push(layout.row(name, manifest)),
            (_, _, Some((_, text))) => problems.push((&one.object.key, text)),
            (_, _, None) => problems.push((&one.object.key, NO_MANIFEST.to_owned())),
        }
    }
    if rows.len() > 1 {
        write_rows(out, &rows)?;
    }
    for (key, text) in &problems {
        writeln!(out, "{}: {text}", printable(Path::new(key)))?;
    }
    let named = rows.len() - 1;
    let total = listed.len();
    match total {
        0 => writeln!(out, "no clips here: nothing is named …/clips/<2 hex>/<64 hex>.age"),
        _ => writeln!(out, "{named} of {total} clips could be listed; times are UTC"),
    }
}

const NO_MANIFEST: &str = "it opens, but says nothing of its clip: a dock did not seal it";

fn write_rows(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let last = index + 1 == columns;
            if rows[0][index] == "SIZE" {
                line.extend([padding.as_str(), cell, "  "]);
            } else if last {
                line.push_str(cell);
            } else {
                line.extend([cell.as_str(), &padding, "  "]);
            }
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What `list --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct ListJson<'a> {
    schema_version: u32,
    bucket: &'a str,
    clips: Vec<ClipJson<'a>>,
    /// How many of them have a problem.
    problem_count: usize,
}

#[derive(Serialize)]
struct ClipJson<'a> {
    /// The object's name beneath the bucket's prefix.
    key: &'a str,
    /// 64 hex digits; null where the object is misnamed.
    sealed_name: Option<String>,
    sealed_size_bytes: u64,
    /// When the bucket stored it, by the bucket's clock.
    stored: jiff::Timestamp,
    /// Null where there is none that can be read.
    manifest: Option<ManifestJson<'a>>,
    problem: Option<ProblemJson>,
}

#[derive(Serialize)]
struct ManifestJson<'a> {
    #[serde(flatten)]
    name: NameJson,
    /// The folders between the watch folder and the clip.
    folder: NameJson,
    dock: &'a str,
    camera: Option<&'a str>,
    size_bytes: u64,
    modified: jiff::Timestamp,
    sealed: jiff::Timestamp,
}

#[derive(Serialize)]
struct ProblemJson {
    /// `bucket-failed`, `manifest-unreadable`, `misnamed`, `no-identity` or `tampered`.
    code: &'static str,
    text: String,
}

impl<'a> ListJson<'a> {
    fn new(bucket: &'a str, listed: &'a [Listed]) -> ListJson<'a> {
        let clips: Vec<_> = listed.iter().map(ClipJson::new).collect();
        let problem_count = clips.iter().filter(|clip| clip.problem.is_some()).count();
        ListJson { schema_version: 1, bucket, clips, problem_count }
    }
}

impl<'a> ClipJson<'a> {
    fn new(listed: &'a Listed) -> ClipJson<'a> {
        let manifest = manifest(listed).map(|manifest| ManifestJson {
            name: NameJson::new(&manifest.name.to_path().unwrap_or_default()),
            folder: NameJson::new(&manifest.folder.to_path().unwrap_or_default()),
            dock: &manifest.dock,
            camera: manifest.camera.as_deref(),
            size_bytes: manifest.size_bytes,
            modified: manifest.modified,
            sealed: manifest.sealed,
        });
        ClipJson {
            key: &listed.object.key,
            sealed_name: listed.name.map(|name| name.to_string()),
            sealed_size_bytes: listed.object.size_bytes,
            stored: listed.object.stored,
            manifest,
            problem: problem(listed).map(|(code, text)| ProblemJson { code, text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::bucket::Object;
    use crate::envelope::manifest::tests::manifest;

    fn listed(number: u8, finding: Result<ManifestFinding, ListError>) -> Listed {
        let name = SealedName([number; 32]);
        let stored = jiff::Timestamp::UNIX_EPOCH;
        let object = Object { key: format!("clips/{name}.age"), size_bytes: 9, stored };
        Listed { object, name: Some(name), finding }
    }

    fn clip(number: u8, name: &str, sealed_second: i64) -> Listed {
        let mut manifest = manifest(Path::new(name));
        manifest.camera = Some("cam-07".into());
        manifest.sealed = jiff::Timestamp::from_second(sealed_second).expect("in range");
        listed(number, Ok(ManifestFinding::Found(Box::new(manifest))))
    }

    fn table(listed: &mut [Listed]) -> String {
        sort(listed);
        let mut out = Vec::new();
        write_table(&mut out, listed, Layout::Short).expect("a Vec takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_usual_table_fits_80_columns_in_the_order_of_sealing() {
        let mut clips = [clip(1, "GOPR0002.mp4", 7200), clip(2, "GOPR0001.mp4", 60)];
        let table = table(&mut clips);
        let rows: Vec<_> = table.lines().collect();
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{table}");
        assert!(rows[1].starts_with("02020202  1970-01-01 00:01") && rows[1].ends_with("0001.mp4"));
        assert!(rows[2].starts_with("01010101  1970-01-01 02:00"));
    }

    #[test]
    fn nothing_that_is_listed_moves_the_cursor() {
        let mut nasty = clip(1, "\u{1b}[2J\n", 0);
        nasty.object.key = "\u{1b}[2J".into();
        if let Ok(ManifestFinding::Found(manifest)) = &mut nasty.finding {
            manifest.dock = "\r\u{202e}".into();
            manifest.camera = Some("\u{7}".into());
        }
        let table = table(&mut [nasty]);
        assert!(table.chars().all(|c| c == '\n' || !c.is_control()), "{table:?}");
        assert_eq!(table.lines().count(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_told_below_and_counted() {
        let failed = listed(3, Err(ListError::Misnamed));
        let foreign = listed(4, Ok(ManifestFinding::Absent));
        let json = serde_json::to_value(ListJson::new("file:///b", std::slice::from_ref(&failed)));
        let json = json.expect("JSON");
        assert_eq!(json["problem_count"], 1);
        assert_eq!(json["clips"][0]["problem"]["code"], "misnamed");
        assert!(json["clips"][0]["manifest"].is_null());
        let table = table(&mut [failed, foreign, clip(1, "a.mp4", 0)]);
        assert!(table.contains("its name is not that of a sealed clip"), "{table}");
        assert!(table.ends_with("1 of 3 clips could be listed; times are UTC\n"), "{table}");
    }
}
