//! The documents hold together: each link leads to a file and, where it names one, to a place in it; each path, test,
//! package and script that a document names is in the tree; each rule that code or a document names is written down in
//! `docs/DESIGN.md`; nothing refers to a text that is not here.
//!
//! Not here: whether `understudy` takes the commands that the documents show (`engine/src/cli/documented.rs`), and
//! whether metrics, exit codes and settings are those of the documents (`engine/tests/documented.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the project").to_owned()
}

/// All files of the project below `dir` whose name ends in one of `endings`.
fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of the project") {
        let path = entry.expect("an entry of a directory").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&path, endings));
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of a document without its fenced blocks, in which `#` begins no heading and a backquote no code.
fn prose(text: &str) -> String {
    let mut is_fenced = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fence && !is_fenced
    };
    text.lines().filter(is_prose).flat_map(|line| [line, "\n"]).collect()
}

/// The places of a document that a link can name: its headings, as GitHub names them, and explicit anchors.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    });
    let explicit = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(String::from);
    headings.chain(explicit).collect()
}

/// What stands behind `](` in a document: where its links lead, web addresses apart.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|to| !to.contains("://")).map(String::from).collect()
}

fn is_there(from: &Path, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { from.to_owned() } else { from.parent().unwrap_or(from).join(file) };
    file.exists() && (anchor.is_empty() || anchors(&read(&file)).contains(anchor))
}

#[test]
fn each_link_of_a_document_leads_somewhere() {
    let (mut dead, mut followed) = (Vec::new(), 0);
    for document in files(&root(), &[".md"]) {
        for target in links(&read(&document)) {
            followed += 1;
            if !is_there(&document, &target) {
                dead.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
    assert!(followed > 50, "only {followed} links were found");
}

/// Paths of all files and directories of the project, from its root.
fn tree() -> BTreeSet<String> {
    let root = root();
    let mut tree = BTreeSet::new();
    for file in files(&root, &[""]) {
        let path = file.strip_prefix(&root).expect("the file is in the project");
        for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
            tree.insert(part.display().to_string());
        }
    }
    tree
}

/// What stands between backquotes, each on one line.
fn quoted(text: &str) -> Vec<String> {
    let text = prose(text);
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(String::from).collect()
}

/// Otherwise what is looked at would be what stands *between* the words, on such a line.
#[test]
fn no_code_of_a_document_is_broken_over_two_lines() {
    for document in files(&root(), &[".md"]) {
        for line in prose(&read(&document)).lines().filter(|line| !line.starts_with("    ")) {
            assert!(line.split('`').count() % 2 == 1, "{}: {line}", document.display());
        }
    }
}

/// The part of a word of a document that names a file of the tree: all of it but a test's name or an anchor.
fn path_of(word: &str) -> &str {
    word.split([':', '#', ' ']).next().unwrap_or(word).trim_end_matches('/')
}

/// Whether a path names a file of the project: it begins with a directory of its root, or its end is a source's.
fn is_ours(path: &str, tree: &BTreeSet<String>) -> bool {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c));
    let first = path.split('/').next().unwrap_or_default();
    let is_source = [".rs", ".sh", ".md"].iter().any(|end| path.ends_with(end));
    // `scenarios/NAME.sh` is a pattern, and what a fuzzer finds is written by it.
    let is_made_up = path.contains("NAME") || path == "tests/fuzz/artifacts";
    is_plain && !is_made_up && (is_source || path.contains('/') && tree.contains(first))
}

/// Files and directories that a path of a document can mean: the one of that path, or else those whose path so ends.
fn meant<'a>(path: &str, tree: &'a BTreeSet<String>) -> Vec<&'a str> {
    if let Some(whole) = tree.get(path) {
        return vec![whole];
    }
    let ending = format!("/{path}");
    tree.iter().filter(|file| file.ends_with(&ending)).map(String::as_str).collect()
}

#[test]
fn each_path_that_a_document_names_is_in_the_tree() {
    let tree = tree();
    let (mut gone, mut named) = (BTreeSet::new(), 0);
    for document in files(&root(), &[".md"]) {
        for word in quoted(&read(&document)) {
            let path = path_of(&word);
            if is_ours(path, &tree) {
                named += 1;
                if meant(path, &tree).is_empty() {
                    gone.insert(format!("{}: {path}", document.display()));
                }
            }
        }
    }
    assert!(gone.is_empty(), "paths of files that are not there: {gone:#?}");
    assert!(named > 100, "only {named} paths were found");
}

#[test]
fn each_path_that_a_comment_of_a_source_names_is_in_the_tree() {
    let tree = tree();
    let (mut gone, mut named) = (BTreeSet::new(), 0);
    for source in files(&root(), &[".rs"]) {
        let text = read(&source);
        for comment in text.lines().map(str::trim_start).filter(|line| line.starts_with("//")) {
            for word in comment.split('`').skip(1).step_by(2) {
                let path = path_of(word);
                // Headers of Xen are named as `xen/xen.h`.
                if path.contains('/') && path.ends_with(".rs") && is_ours(path, &tree) {
                    named += 1;
                    if meant(path, &tree).is_empty() {
                        gone.insert(format!("{}: {path}", source.display()));
                    }
                }
            }
        }
    }
    assert!(gone.is_empty(), "paths of files that are not there: {gone:#?}");
    assert!(named > 10, "only {named} paths were found");
}

/// The sources that a path means: itself, and what is below the directory of its module.
fn sources(path: &str, tree: &BTreeSet<String>) -> String {
    let room = path.trim_end_matches("/main.rs").trim_end_matches("/mod.rs").trim_end_matches(".rs");
    let below = format!("{room}/");
    let files = tree.iter().filter(|file| *file == path || file.starts_with(&below));
    files.filter(|file| file.ends_with(".rs")).map(|file| read(&root().join(file))).collect()
}

#[test]
fn each_test_that_a_promise_names_is_there() {
    let tree = tree();
    let (mut gone, mut named) = (Vec::new(), 0);
    for word in quoted(&read(&root().join("docs/SPECIFICATION.md"))) {
        let Some((path, test)) = word.split_once(": ") else { continue };
        named += 1;
        // A long name may be cut short.
        let test =
            test.strip_suffix('…').map_or_else(|| format!("fn {test}("), |begin| format!("fn {begin}"));
        if !meant(path, &tree).iter().any(|path| sources(path, &tree).contains(&test)) {
            gone.push(word);
        }
    }
    assert!(gone.is_empty(), "tests that are not there: {gone:#?}");
    assert!(named > 20, "only {named} tests were found");
}

/// The lines of commands that the documents show, in fenced blocks or indented.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    lines.filter(|line| line.starts_with("cargo ") || line.starts_with("tests/")).map(String::from).collect()
}

/// What stands behind a flag of a command.
fn behind<'a>(command: &'a str, flag: &str) -> Vec<&'a str> {
    let words: Vec<&str> = command.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect()
}

#[test]
fn each_package_and_script_of_a_command_is_there() {
    let tree = tree();
    let manifests: String = files(&root(), &["Cargo.toml"]).iter().map(|path| read(path)).collect();
    let mut tried = 0;
    for document in files(&root(), &[".md"]) {
        let place = document.display();
        for command in commands(&read(&document)) {
            tried += 1;
            if let Some(script) = command.split_whitespace().next().filter(|word| word.starts_with("tests/"))
            {
                assert!(tree.contains(script), "{place}: {command}");
            }
            for package in behind(&command, "-p") {
                let name = format!("name = \"{package}\"");
                assert!(manifests.contains(&name), "{place}: {command}: no package {package}");
            }
            for (flag, room) in [("--bench", "benches"), ("--test", "tests"), ("--bin", "bin")] {
                for target in behind(&command, flag) {
                    let is_it = |file: &&String| {
                        file.ends_with(&format!("/{room}/{target}.rs"))
                            || file.ends_with(&format!("/{room}/{target}/main.rs"))
                    };
                    let is_named = manifests.contains(&format!("name = \"{target}\""));
                    assert!(
                        is_named || tree.iter().any(|file| is_it(&file)),
                        "{place}: {command}: no {target}"
                    );
                }
            }
        }
    }
    assert!(tried > 20, "only {tried} commands were found");
}

#[test]
fn each_place_in_a_document_that_a_source_names_is_there() {
    let mut named = 0;
    for source in files(&root(), &[".rs", ".sh", ".toml"]) {
        for rest in read(&source).split("docs/").skip(1) {
            let reference: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || "#.-_".contains(*c)).collect();
            let reference = reference.trim_end_matches('.');
            if reference.contains(".md") {
                named += 1;
                let target = format!("docs/{reference}");
                assert!(is_there(&root().join("x"), &target), "{}: {target}", source.display());
            }
        }
    }
    assert!(named > 0, "the search finds no reference at all");
}

#[test]
fn each_rule_that_is_named_is_written_down() {
    let written = anchors(&read(&root().join("docs/DESIGN.md")));
    for document in files(&root().join("docs"), &[".md"]) {
        let text = read(&document);
        let words = text.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| {
            word.len() == 2
                && word.starts_with(['A', 'I', 'S'])
                && word.ends_with(|c: char| c.is_ascii_digit())
        }) {
            assert!(written.contains(&word.to_lowercase()), "{}: {word} is no rule", document.display());
        }
    }
    for rule in (1..=8).flat_map(|n| ['a', 'i', 's'].map(|kind| format!("{kind}{n}"))) {
        assert!(written.contains(&rule), "docs/DESIGN.md has no {rule}");
    }
}

/// A section sign is how our sources used to cite notes that only their authors had.
#[test]
fn no_source_cites_a_text_by_section() {
    for source in files(&root(), &[".rs", ".md", ".sh", ".toml"]) {
        let sign = char::from_u32(0xA7).expect("the section sign");
        assert!(!read(&source).contains(sign), "{} cites a section of some text", source.display());
    }
}
