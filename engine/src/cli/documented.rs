//! Checks that this program accepts the commands that the documents show.
//!
//! Not here: whether they do what the documents say.

use super::Cli;
use clap::Parser;
use clap::error::ErrorKind;
use std::fs;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let in_directory = |path: &str| fs::read_dir(root.join(path)).unwrap().map(|entry| entry.unwrap().path());
    let more = ["deploy/node.toml", "tests/fuzz/README.md", "tests/golden/README.md", "tests/rig/README.md"];
    in_directory("")
        .chain(in_directory("docs"))
        .chain(more.map(|path| root.join(path)))
        .filter(|path| path.ends_with("deploy/node.toml") || path.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// The lines of a text that begin with the command, each joined with its continuation lines.
fn shown(text: &str) -> Vec<String> {
    let mut commands = Vec::<String>::new();
    let mut is_continued = false;
    // Code is indented or fenced, and commands in the comments of the configuration are indented as well.
    let mut is_fenced = false;
    for line in text.lines() {
        is_fenced ^= line.starts_with("```");
        if !(is_fenced || line.starts_with("    ") || line.starts_with("#   ")) {
            continue;
        }
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

/// The words of a command, without a remark two spaces behind it.
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

/// Checks that a command and all its flags exist. A value may be missing or a placeholder; a name must be exact.
fn exists(command: &str, document: &Path) {
    let unknown = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
    if let Err(error) = Cli::try_parse_from(words(command)) {
        assert!(!unknown.contains(&error.kind()), "{}: {command}\n{error}", document.display());
    }
}

#[test]
fn each_flag_of_a_synopsis_exists() {
    let mut tried = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for synopsis in shown(&text).into_iter().filter(|line| line.contains('[')) {
            let all: String = synopsis.chars().filter(|c| !"[]".contains(*c)).collect();
            // One flag at a time: clap stops at the first wrong value, and a placeholder is one.
            let mut begin = all.split_whitespace().take(2).collect::<Vec<_>>();
            for flag in all.split_whitespace().filter(|word| word.starts_with('-')) {
                begin.push(flag);
                exists(&begin.join(" "), &document);
                begin.pop();
            }
            tried += 1;
        }
    }
    assert!(tried > 1, "only {tried} synopses were found");
}

#[test]
fn each_command_that_is_named_in_a_sentence_exists() {
    let mut tried = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for command in text.split('`').skip(1).step_by(2).filter(|text| text.starts_with("understudy ")) {
            exists(command, &document);
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} commands were found");
}
