//! `dockseal demo`: a whole dock in a folder, with published keys and a folder as bucket.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::clips::count;
use super::daemon::{Bar, run_agent};
use super::{agent_complaint, log, status};
use crate::cli::{Complaint, Exit, bytes_for_people};
use crate::clip::printable;
use crate::dock::agent::{self, RunUntil};
use crate::dock::config::Config;
use crate::edge::{clock, fs};
use crate::envelope::recipient::EXAMPLE_RECIPIENTS;

/// The private half of the demo's recipient, published like it. Only a build that has the
/// authority's wing carries it; the dock's own has no code for identities and no use for one.
#[cfg(feature = "authority")]
const EXAMPLE_PRIVATE_HALF: Option<&str> =
    Some(include_str!("../../../keys-example/authority.identity"));
#[cfg(not(feature = "authority"))]
const EXAMPLE_PRIVATE_HALF: Option<&str> = None;

/// How the config of every demo begins.
const FIRST_LINE: &str = "# Written by `dockseal demo`.";
/// The name of a clip that is being copied in, and the only one that is not a clip.
const UNFINISHED: &str = ".dockseal-demo-copying";

/// Where the demo's files lie.
struct Places {
    dir: PathBuf,
    dock: PathBuf,
    bucket: PathBuf,
    state: PathBuf,
    config: PathBuf,
    private_half: PathBuf,
    opened: PathBuf,
}

impl Places {
    fn in_dir(dir: &Path) -> Places {
        let at = |name| dir.join(name);
        Places {
            dir: dir.to_owned(),
            dock: at("dock"),
            bucket: at("bucket"),
            state: at("state"),
            config: at("dockseal.toml"),
            private_half: at("authority.identity"),
            opened: at("opened"),
        }
    }
}

pub(super) fn demo(dir: &Path, clips: &[PathBuf]) -> Result<Exit, Complaint> {
    let dir = std::path::absolute(dir).map_err(|error| failed("the current folder", &error))?;
    let places = Places::in_dir(&dir);
    let text = config_text(&places)?;
    for clip in clips {
        check_clip(clip)?;
    }
    let config = Config::parse(&text).map_err(|error| {
        Complaint::new(Exit::Failed, "the demo's own config", &error)
            .hint("use a --dir without unusual characters")
    })?;
    furnish(&places, &text)?;
    agent::initialise(&config.state_dir, &config.dock)
        .map_err(|error| agent_complaint(&config, &error))?;
    let copied = match clips {
        [] => generate(&places.dock)?,
        clips => copy(&places.dock, clips)?,
    };
    let mut out = io::stdout().lock();
    let copied = count("file", copied);
    writeln!(out, "dock folder   {} ({copied} put in)", printable(&places.dock))?;
    writeln!(out, "bucket        {}", printable(&places.bucket))?;
    writeln!(out, "sealed to     a recipient of keys-example/: published, for this demo only")?;
    drop(out);
    log::begin(Some("warn"));
    let bar = if io::stderr().is_terminal() { Bar::Shown } else { Bar::Hidden };
    let exit = run_agent(config.clone(), RunUntil::Idle, bar)?;
    writeln!(io::stdout())?;
    status::status(&config, false)?;
    show(&places)?;
    Ok(exit)
}

/// Makes the demo's files and folders, where nothing of somebody else's has their names.
fn furnish(places: &Places, config: &str) -> Result<(), Complaint> {
    std::fs::create_dir_all(&places.dir).map_err(|e| failed(&printable(&places.dir), &e))?;
    refuse_others(places)?;
    // The config first: it tells the next run that the rest is the demo's.
    std::fs::write(&places.config, config).map_err(|e| failed(&printable(&places.config), &e))?;
    for folder in [&places.dock, &places.bucket, &places.opened] {
        std::fs::create_dir_all(folder).map_err(|e| failed(&printable(folder), &e))?;
    }
    if let Some(private_half) = EXAMPLE_PRIVATE_HALF {
        let path = &places.private_half;
        // For this user alone, as the authority's program asks of its own.
        let written = fs::create_over(path).and_then(|mut f| f.write_all(private_half.as_bytes()));
        written.map_err(|e| failed(&printable(path), &e))?;
    }
    Ok(())
}

/// Refuses a folder that has what the demo would make, unless a demo made it: it would erase
/// whatever lies in `dock`, after sealing it to a key that everybody has, and overwrite the keys.
fn refuse_others(places: &Places) -> Result<(), Complaint> {
    let shown = printable(&places.config);
    match std::fs::read(&places.config) {
        Ok(config) if config.starts_with(FIRST_LINE.as_bytes()) => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&shown, &error)),
    }
    let Places { dock, bucket, state, config, private_half, opened, dir: _ } = places;
    let all = [dock, bucket, state, config, private_half, opened];
    match all.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => {
            let message = format!("{} is there, and no demo made it", printable(path));
            let hint = "choose another folder with --dir; a demo erases what lies in its dock";
            Err(Complaint::text(Exit::Failed, message).hint(hint))
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Complaint {
    Complaint::new(Exit::Failed, format!("cannot use {what}"), error)
        .hint("choose another folder with --dir")
}

fn config_text(places: &Places) -> Result<String, Complaint> {
    // The commands that are printed at the end must be good for a terminal and for a shell.
    let is_plain = |text: &&str| !text.contains(char::is_control);
    let text = |path: &Path| {
        let text = path.to_str().filter(is_plain).map(|text| toml::Value::from(text).to_string());
        text.ok_or_else(|| {
            let message = format!("the path {} is not plain UTF-8", printable(path));
            Complaint::text(Exit::Usage, message).hint("choose another folder with --dir")
        })
    };
    let bucket = url::Url::from_file_path(&places.bucket)
        .map_err(|()| Complaint::text(Exit::Failed, "the demo's folder has no absolute path"))?;
    let mut config = format!("{FIRST_LINE} `dockseal run` refuses these keys.\n");
    config.push_str("dock = \"demo-dock\"\n");
    config.push_str(&format!("state_dir = {}\n", text(&places.state)?));
    config.push_str(&format!("recipients = [\"{}\"]\n\n", EXAMPLE_RECIPIENTS[0]));
    config.push_str(&format!("[[watch]]\npath = {}\n", text(&places.dock)?));
    config.push_str("camera = \"{1}\"\nsettle_seconds = 1\nerase = \"when-stored\"\n");
    config.push_str(&format!("ignore = [\"{UNFINISHED}\"]\n\n"));
    config.push_str(&format!("[[bucket]]\nname = \"demo\"\nurl = \"{bucket}\"\n"));
    Ok(config)
}

/// A few short videos with a sidecar each. Y4M is a header and raw frames: every player opens it.
/// Their names carry the time, as those of cameras do: the next run's are other ones.
fn generate(dock: &Path) -> Result<usize, Complaint> {
    const CAMERAS: [&str; 3] = ["camera-0417", "camera-0418", "camera-0533"];
    let now = jiff::Timestamp::from_millisecond(clock::now().0).unwrap_or_default();
    let now = now.strftime("%Y%m%dT%H%M%S");
    for (index, camera) in CAMERAS.iter().enumerate() {
        let folder = dock.join(camera);
        std::fs::create_dir_all(&folder).map_err(|e| failed(&printable(&folder), &e))?;
        let name = format!("{now}-{}", index + 1);
        let video = folder.join(format!("{name}.y4m"));
        write_video(&video, index).map_err(|e| failed(&printable(&video), &e))?;
        let sidecar = folder.join(format!("{name}.json"));
        let text = format!("{{\"camera\": \"{camera}\", \"reason\": \"demo\"}}\n");
        std::fs::write(&sidecar, text).map_err(|e| failed(&printable(&sidecar), &e))?;
    }
    Ok(2 * CAMERAS.len())
}

/// Two seconds of a bar that moves over a grey field, 160×120, 25 frames a second.
fn write_video(path: &Path, seed: usize) -> io::Result<()> {
    const WIDTH: usize = 160;
    const HEIGHT: usize = 120;
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg")?;
    for frame in 0..50 {
        writeln!(out, "FRAME")?;
        let bar = (frame * 3 + seed * 40) % WIDTH;
        for _row in 0..HEIGHT {
            let row: Vec<u8> =
                (0..WIDTH).map(|x| if x.abs_diff(bar) < 8 { 235 } else { 90 }).collect();
            out.write_all(&row)?;
        }
        out.write_all(&[128; WIDTH * HEIGHT / 2])?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Before anything is made or sealed: a mistyped name leaves no half of a demo.
fn check_clip(clip: &Path) -> Result<(), Complaint> {
    let shown = printable(clip);
    let hint = "name one or more video files, or none to have some generated";
    match std::fs::metadata(clip) {
        Ok(facts) if facts.is_file() => Ok(()),
        Ok(_) => {
            let message = format!("{shown} is not a regular file");
            Err(Complaint::text(Exit::Usage, message).hint(hint))
        }
        Err(error) => {
            let message = format!("cannot find {shown}");
            Err(Complaint::new(Exit::Usage, message, &error).hint(hint))
        }
    }
}

/// Copies, because a demo must never erase somebody's own files.
fn copy(dock: &Path, clips: &[PathBuf]) -> Result<usize, Complaint> {
    let folder = dock.join("yours");
    std::fs::create_dir_all(&folder).map_err(|e| failed(&printable(&folder), &e))?;
    let mut taken = HashSet::new();
    for clip in clips {
        let name = clip.file_name().unwrap_or(OsStr::new("clip"));
        // `a/1.mp4 b/1.mp4`: the second becomes `2-1.mp4`, or it would replace the first.
        let numbered = (2..).map(|number| {
            let mut numbered = OsString::from(format!("{number}-"));
            numbered.push(name);
            numbered
        });
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let name = names.find(|name| taken.insert(name.clone())).expect("numbers go on");
        // Under a name that is ignored until it is whole.
        let unfinished = folder.join(UNFINISHED);
        let copied = std::fs::copy(clip, &unfinished)
            .and_then(|_| std::fs::rename(&unfinished, folder.join(name)));
        copied.map_err(|error| {
            Complaint::new(Exit::Failed, format!("cannot copy {}", printable(clip)), &error)
                .hint("is it readable, and is there space?")
        })?;
    }
    Ok(clips.len())
}

/// What the provider sees, and how the authority opens it.
fn show(places: &Places) -> Result<(), Complaint> {
    let mut objects = Vec::new();
    walk(&places.bucket, &places.bucket, &mut objects)
        .map_err(|e| failed(&printable(&places.bucket), &e))?;
    objects.sort();
    let (clips, log): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|(key, _)| key.ends_with(".age"));
    let mut out = io::stdout().lock();
    writeln!(out, "\nwhat the provider sees: {}", count("sealed clip", clips.len()))?;
    for (key, size) in clips.iter().take(8) {
        writeln!(out, "  {:>10}  {key}", bytes_for_people(*size))?;
    }
    if clips.len() > 8 {
        writeln!(out, "  and {} more", clips.len() - 8)?;
    }
    writeln!(out, "and the dock's signed log of them, in {} pieces", log.len())?;
    let bucket = url::Url::from_file_path(&places.bucket);
    let bucket = bucket.map_or(String::new(), |url| quoted_text(url.as_str()));
    let private_half = match EXAMPLE_PRIVATE_HALF {
        Some(_) => quoted(&places.private_half),
        None => "keys-example/authority.identity".to_owned(),
    };
    let program = program();
    writeln!(out, "\nthe authority lists and opens it with:")?;
    writeln!(out, "  {program} list {bucket} --identity {private_half}")?;
    let opened = quoted(&places.opened);
    writeln!(out, "  {program} open {bucket} --identity {private_half} --out {opened}")?;
    writeln!(out, "\nall of it lies in {}; remove the folder when done", printable(&places.dir))?;
    Ok(())
}

fn walk(root: &Path, folder: &Path, objects: &mut Vec<(String, u64)>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let facts = entry.metadata()?;
        if facts.is_dir() {
            walk(root, &path, objects)?;
        } else {
            let key = path.strip_prefix(root).unwrap_or(&path);
            objects.push((printable(key), facts.len()));
        }
    }
    Ok(())
}

/// How the authority's program is started here: built beside this one, by cargo, or installed.
fn program() -> String {
    const NAME: &str = "dockseal-authority";
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(NAME));
    match beside {
        Some(path) if path.is_file() => quoted(&path),
        _ if std::env::var_os("CARGO").is_some() => {
            format!("cargo run --release --bin {NAME} --")
        }
        _ => NAME.to_owned(),
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    quoted_text(&path.to_string_lossy())
}

fn quoted_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
