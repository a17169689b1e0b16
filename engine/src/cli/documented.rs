//! Commands that the documents show are commands that this program takes.
//!
//! Not here: whether they do what the documents say.

use super::Cli;
use clap::Parser;
use clap::error::ErrorKind;
use std::fs;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let more = ["README.md", "deploy/node.toml", "tests/rig/README.md"].map(|path| root.join(path));
    listed
        .chain(more)
        .filter(|path| path.extension().is_some_and(|end| end == "md" || end == "toml"))
        .collect()
}

/// Lines of a text that begin with the command, each with what its continuation lines add.
fn shown(text: &str) -> Vec<String> {
    let mut commands = Vec::<String>::new();
    let mut is_continued = false;
    // Code is indented, and so are commands in the comments of the configuration.
    for line in text.lines().filter(|line| line.starts_with("    ") || line.starts_with("#   ")) {
        let line = line.trim_start_matches('#').trim().replace("cargo run --release -- ", "understudy ");
        let (kept, goes_on) = line.strip_suffix('\\').map_or((&*line, false), |kept| (kept, true));
        match commands.last_mut() {
            Some(command) if is_continued => command.push_str(&format!(" {kept}")),
            _ if kept.starts_with("understudy ") => commands.push(kept.to_owned()),
            _ => continue,
        }
        is_continued = goes_on;
    }
    commands
}

/// The words of a command without the remark that stands behind it, two spaces away.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" #").next().unwrap_or(command);
    let mut parts = command.split("  ").map(str::trim).filter(|part| !part.is_empty());
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts.take_while(|part| part.starts_with('-')) {
        kept = format!("{kept} {part}");
    }
    let command =
        kept.split([' ']).take_while(|word| !["|", ">"].contains(word)).collect::<Vec<_>>().join(" ");
    command.split_whitespace().filter(|word| *word != "…").map(String::from).collect()
}

#[test]
fn each_command_that_stands_on_a_line_of_its_own_is_taken_as_it_is() {
    let mut tried = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        // A synopsis has brackets.
        let is_command = |line: &str| !line.contains('[');
        for command in shown(&text).into_iter().filter(|line| is_command(line)) {
            // What is left out of a node's flags is required.
            let is_whole = !command.contains('…');
            match Cli::try_parse_from(words(&command)) {
                Ok(_) => {}
                Err(error) if !is_whole && error.kind() == ErrorKind::MissingRequiredArgument => {}
                Err(error) => panic!("{}: {command}\n{error}", document.display()),
            }
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} commands were found");
}

#[test]
fn each_command_that_is_named_in_a_sentence_exists() {
    // A value may be left out in a sentence, an argument's name may not be another.
    let unknown = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for command in text.split('`').skip(1).step_by(2).filter(|text| text.starts_with("understudy ")) {
            if let Err(error) = Cli::try_parse_from(words(command)) {
                assert!(!unknown.contains(&error.kind()), "{}: {command}\n{error}", document.display());
            }
        }
    }
}
