//! The documents hold together: each link leads to a file and, where it names one, to a place in it; each rule
//! that code or a document names is written down in `docs/DESIGN.md`; nothing refers to a text that is not here.
//!
//! Not here: whether the commands in the documents run.

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

/// The places of a document that a link can name: its headings, as GitHub names them, and explicit anchors.
fn anchors(text: &str) -> BTreeSet<String> {
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
    let mut dead = Vec::new();
    for document in files(&root(), &[".md"]) {
        for target in links(&read(&document)) {
            if !is_there(&document, &target) {
                dead.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
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
