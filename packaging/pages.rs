//! The man pages and completions of the three programs, made from their own command lines.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use dockseal::cli;

/// Written by hand; a test compares it with the parser of the config.
const CONFIG_PAGE: &str = include_str!("man/dockseal.toml.5");
/// Has the one table of exit codes.
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// A file of the manual, and where it lies: `man/dockseal.1`, `bash/dockseal`.
pub struct Page {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

struct Program {
    command: Command,
    /// Folder in the packages, and so of its pages.
    role: &'static str,
    files: &'static [(&'static str, &'static str)],
    see_also: &'static str,
}

fn programs() -> [Program; 3] {
    [
        Program {
            command: cli::dock::command(),
            role: "dockseal",
            files: &[
                ("/etc/dockseal/dockseal.toml", "The config: dockseal.toml(5)."),
                ("/etc/dockseal/keyring", "The authority's signed keyring."),
                ("/var/lib/dockseal", "Queue, spool, signing key and lock of the daemon."),
                ("/srv/dock", "The dock folder, unless the config names others."),
            ],
            see_also: "dockseal.toml(5), dockseal-authority(1), dockseal-audit(1), systemctl(1)",
        },
        Program {
            command: cli::authority::command(),
            role: "dockseal-authority",
            files: &[],
            see_also: "dockseal(1), dockseal-audit(1), age(1)",
        },
        Program {
            command: cli::audit::command(),
            role: "dockseal-audit",
            files: &[],
            see_also: "dockseal(1), dockseal-authority(1)",
        },
    ]
}

/// Every page and completion; the pages say that they are of `date`, such as 2026-11-22.
pub fn all(date: &str) -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for program in programs() {
        let man = PathBuf::from(program.role).join("man");
        let mut command = program.command.clone().disable_help_subcommand(true);
        command.build();
        command_pages(&program, &command, date, &mut |name, text| {
            pages.push(Page { path: man.join(name), text });
        })?;
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            pages.push(completion(&program, shell));
        }
    }
    let path = PathBuf::from("dockseal/man/dockseal.toml.5");
    let text = CONFIG_PAGE.replace("@DATE@", date).replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    pages.push(Page { path, text: text.into_bytes() });
    Ok(pages)
}

/// Named as each shell looks for it.
fn completion(program: &Program, shell: Shell) -> Page {
    let name = program.role;
    let path = match shell {
        Shell::Fish => format!("{name}/fish/{name}.fish"),
        Shell::Zsh => format!("{name}/zsh/_{name}"),
        _ => format!("{name}/bash/{name}"),
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program.command.clone(), name, &mut text);
    if shell == Shell::Bash {
        // clap_complete spells a name with a hyphen in two ways, and then finds no subcommand
        // of it: clap-rs/clap#6421.
        let [wrong, right] = ["__subcmd__", "__"].map(|joint| name.replace('-', joint));
        let script = String::from_utf8(text).expect("a script is text");
        text = script.replace(&wrong, &right).into_bytes();
    }
    Page { path: path.into(), text }
}

/// One page a command, as `git` and `restic` have them: `dockseal-status.1`.
fn command_pages(
    program: &Program,
    command: &Command,
    date: &str,
    page: &mut impl FnMut(String, Vec<u8>),
) -> io::Result<()> {
    let man = Man::new(command.clone())
        .date(date)
        .source(format!("dockseal {}", env!("CARGO_PKG_VERSION")))
        .manual("dockseal");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let commands: Vec<_> = commands.collect();
    if !commands.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_name() == program.role {
        exit_status(&mut text)?;
        files(program, &mut text)?;
        section(&mut text, "SEE ALSO", program.see_also)?;
    } else {
        let whole = format!("{}(1), with the exit codes", program.role);
        section(&mut text, "SEE ALSO", &whole)?;
    }
    page(man.get_filename(), text);
    commands.into_iter().try_for_each(|command| command_pages(program, command, date, page))
}

/// The table of docs/operations.md.
fn exit_status(text: &mut Vec<u8>) -> io::Result<()> {
    writeln!(text, ".SH \"EXIT STATUS\"")?;
    let rows = OPERATIONS.split("## 4. Exit codes").nth(1).unwrap_or_default();
    let rows = rows.split("\n## ").next().unwrap_or_default().lines();
    for row in rows {
        let mut cells = row.trim_matches(['|', ' ']).split(" | ");
        let (code, meaning) = (cells.next().unwrap_or_default(), cells.nth(1));
        if let (Ok(code), Some(meaning)) = (code.parse::<u8>(), meaning) {
            writeln!(text, ".TP\n.B {code}\n{}", roff(meaning))?;
        }
    }
    Ok(())
}

fn files(program: &Program, text: &mut Vec<u8>) -> io::Result<()> {
    if !program.files.is_empty() {
        writeln!(text, ".SH FILES")?;
    }
    for (path, what) in program.files {
        writeln!(text, ".TP\n.I {}\n{}", roff(path), roff(what))?;
    }
    Ok(())
}

fn section(text: &mut Vec<u8>, name: &str, body: &str) -> io::Result<()> {
    writeln!(text, ".SH \"{name}\"\n{}", roff(body))
}

/// A line that roff takes as it is: a hyphen that can be copied, and no request by accident.
fn roff(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}
