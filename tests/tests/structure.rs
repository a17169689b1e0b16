//! The house keeps its shape: the modules of a crate form no circle, no file grows beyond a bound, and no doc comment is a bare
//! pronoun.
//!
//! ```text
//!   a.rs ── use crate::b::X ──► b.rs ── use crate::c::Y ──► c.rs ── use super::a::Z ──► a.rs      a circle: refused
//! ```
//!
//! An arrow leads from the file of a module to the file of a module that its text names, by `crate::`, `super::` or the name
//! of a child. What a module takes from the modules that it is a part of is no arrow: a part knows the whole that it stands
//! in. Unit tests at the end of a file count for nothing, because they may look at everything.
//!
//! Not here: arrows between crates, which Cargo keeps free of circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a source file, its tests included. A second idea has moved in long before.
const LINES_MAX: usize = 600;

/// A module's path in its crate; the root's is empty.
type Module = Vec<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the project").to_owned()
}

/// All Rust files below `dir`.
fn sources_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of the project") {
        let path = entry.expect("an entry of a directory").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(sources_below(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The crates of the project by the directory of their root: a library, a program, a test of several files.
fn crates() -> BTreeMap<PathBuf, Crate> {
    let files = sources_below(&root());
    let is_root = |file: &&PathBuf| file.ends_with("lib.rs") || file.ends_with("main.rs");
    let roots: BTreeSet<&Path> = files.iter().filter(is_root).filter_map(|file| file.parent()).collect();
    let mut crates: BTreeMap<PathBuf, BTreeMap<Module, String>> = BTreeMap::new();
    for file in &files {
        let Some(home) = file.ancestors().skip(1).find(|dir| roots.contains(dir)) else { continue };
        let inside = file.strip_prefix(home).expect("a file is below its crate's root").with_extension("");
        let mut module: Module = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module[0] == "bin" {
            continue;
        }
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        crates.entry(home.to_owned()).or_default().entry(module).or_default().push_str(&read(file));
    }
    let read = |sources: BTreeMap<Module, String>| {
        sources.iter().map(|(at, text)| (at.clone(), Text::read(text))).collect()
    };
    crates.into_iter().map(|(home, sources)| (home, read(sources))).collect()
}

/// The words and signs of a source without comments, strings and unit tests; `::` is one of them.
fn tokens(text: &str) -> Vec<String> {
    let is_test =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.windows(2).position(is_test).unwrap_or(lines.len());
    let mut tokens = Vec::new();
    for line in &lines[..end] {
        let line = line.split("//").next().unwrap_or_default();
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                _ if rest.starts_with("::") => 2,
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            tokens.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// The paths that begin at `tokens[0]`, of which a `use` has several between braces; and how many tokens they take. A name
/// that is given with `as` stands behind its path.
fn paths(tokens: &[String]) -> (Vec<Module>, usize) {
    let mut path = Module::new();
    let mut at = 0;
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                let mut found = Vec::new();
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let (below, taken) = paths(&tokens[at..]);
                    found.extend(below.into_iter().map(|tail| [path.clone(), tail].concat()));
                    at += taken.max(1);
                }
                return (found, at + 1);
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => return (vec![path], at),
        }
        match tokens.get(at).map(String::as_str) {
            Some("::") => at += 1,
            _ => return (vec![path], at),
        }
    }
}

/// A file, read: the paths that it names, and those of them that it only passes on (`pub use`), by the name they have there.
#[derive(Default)]
struct Text {
    named: Vec<Module>,
    passed_on: BTreeMap<String, Module>,
}

impl Text {
    fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut read = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let is_path = tokens.get(at + 1).is_some_and(|next| next == "::");
            let (found, taken) = if is_path { paths(&tokens[at..]) } else { (Vec::new(), 1) };
            let is_passed_on =
                at > 1 && tokens[at - 1] == "use" && [")", "pub"].contains(&tokens[at - 2].as_str());
            if is_passed_on {
                read.passed_on
                    .extend(found.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
            } else {
                read.named.extend(found);
            }
            at += taken.max(1);
        }
        read
    }
}

/// The files of one crate, by module.
type Crate = BTreeMap<Module, Text>;

fn child(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// The module that has what a path names, seen from `here`; `None` if that is outside of the crate.
fn resolve(path: &[String], here: &[String], house: &Crate) -> Option<Module> {
    let mut module = match path.first()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => here.to_owned(),
        name if house.contains_key(&child(here, name)) => here.to_owned(),
        _ => return None,
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(module.pop()?),
            name => {
                let below = child(&module, name);
                if house.contains_key(&below) {
                    module = below;
                } else {
                    let passed_on = house.get(&module)?.passed_on.get(name);
                    return passed_on.map_or(Some(module.clone()), |path| resolve(path, &module, house));
                }
            }
        }
    }
    Some(module)
}

type Arrows = BTreeMap<Module, BTreeSet<Module>>;

/// The modules that each module of a crate knows, those that it is a part of apart.
fn arrows(house: &Crate) -> Arrows {
    let known = |here: &Module, text: &Text| {
        let found = text.named.iter().filter_map(|path| resolve(path, here, house));
        found.filter(|module| !here.starts_with(module)).collect()
    };
    house.iter().map(|(here, text)| (here.clone(), known(here, text))).collect()
}

/// Each circle of a crate: modules of which each knows all others, if only through them; with their arrows.
fn circles(house: &Crate) -> Vec<Vec<String>> {
    let arrows = arrows(house);
    let reached: Arrows = arrows.keys().map(|from| (from.clone(), reach(from, &arrows))).collect();
    let circle_of = |module: &Module| -> BTreeSet<Module> {
        let comes_back = |other: &&Module| reached[*other].contains(module);
        reached[module].iter().filter(comes_back).cloned().collect()
    };
    let circles: BTreeSet<_> = arrows.keys().map(circle_of).filter(|circle| !circle.is_empty()).collect();
    let name = |module: &Module| module.join("::");
    let tell = |circle: &BTreeSet<Module>| {
        let inside =
            |from: &Module| arrows[from].intersection(circle).map(name).collect::<Vec<_>>().join(", ");
        circle.iter().map(|from| format!("{} -> {}", name(from), inside(from))).collect()
    };
    circles.iter().map(tell).collect()
}

/// The modules that arrows lead to from one of them, which is among them if they lead back.
fn reach(from: &Module, arrows: &Arrows) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = vec![from];
    while let Some(module) = next.pop() {
        next.extend(
            arrows.get(module).into_iter().flatten().filter(|known| reached.insert((*known).clone())),
        );
    }
    reached
}

#[test]
fn the_modules_of_a_crate_form_no_circle() {
    let crates = crates();
    let found: Vec<_> = crates
        .iter()
        .map(|(home, sources)| (home.strip_prefix(root()).unwrap_or(home), circles(sources)))
        .filter(|(_, circles)| !circles.is_empty())
        .collect();
    assert!(found.is_empty(), "modules that know each other in a circle: {found:#?}");
    let count: usize =
        crates.values().map(|sources| arrows(sources).values().map(BTreeSet::len).sum::<usize>()).sum();
    assert!(count > 1000, "only {count} arrows were found");
}

#[test]
fn no_file_grows_beyond_its_bound() {
    let long: Vec<_> = sources_below(&root())
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "files of more than {LINES_MAX} lines; move their second idea out: {long:#?}");
}

/// Whether a line is a doc comment that names nothing: the reader has to find the noun.
fn is_bare_pronoun(line: &str) -> bool {
    const BARE: [&str; 12] = [
        "Where.",
        "Which.",
        "Whose.",
        "When.",
        "Why.",
        "What.",
        "Who.",
        "How.",
        "It.",
        "The same.",
        "Of what.",
        "Of which.",
    ];
    line.trim_start().strip_prefix("/// ").is_some_and(|text| BARE.contains(&text.trim_end()))
}

#[test]
fn a_doc_comment_is_more_than_a_pronoun() {
    assert!(is_bare_pronoun("    /// Where.") && !is_bare_pronoun("    /// Where it was cut."));
    let found: Vec<_> = sources_below(&root())
        .into_iter()
        .flat_map(|path| {
            let text = read(&path);
            let bare = text.lines().enumerate().filter(|(_, line)| is_bare_pronoun(line));
            bare.map(|(at, line)| format!("{}:{}: {line}", path.display(), at + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "doc comments that say nothing: {found:#?}");
}

fn crate_of(files: &[(&str, &str)]) -> Crate {
    let module = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(String::from).collect();
    files.iter().map(|(path, text)| (module(path), Text::read(text))).collect()
}

#[test]
fn a_circle_is_found_however_its_arrows_are_written() {
    let ways = [
        "use crate::b::Y;",
        "use super::b::{self, Y};",
        "use {super::x, crate::{c, b::Y}};",
        "fn f() { crate::b::g() }",
        "use crate::c::Y;",
    ];
    for way in ways {
        let back = "pub fn g() {} pub struct Y(super::a::X);";
        let circle = crate_of(&[("", ""), ("a", way), ("b", back), ("c", "pub use crate::b::Y;")]);
        assert_eq!(circles(&circle), [["a -> b", "b -> a"]], "{way}");
    }
    let long =
        [("", ""), ("a", "use crate::b;"), ("b", "use crate::b::c::X;"), ("b::c", "use super::super::a::Y;")];
    assert_eq!(circles(&crate_of(&long)), [["a -> b", "b -> b::c", "b::c -> a"]]);
}

#[test]
fn what_is_no_circle_is_not_taken_for_one() {
    let a = ("a", "use crate::b::X;");
    let harmless = [
        [("a", "mod c; use c::X;"), ("a::c", "use super::Y; use crate::a::Z;")],
        [a, ("b", "// use crate::a::X;\n/// [`crate::a`]\nlet a = \"crate::a\";")],
        [a, ("b", "#[cfg(test)]\nmod tests {\nuse crate::a::X;\n}")],
        [a, ("b", "pub use crate::a::Z;")],
        [a, ("b", "use std::a::X; use a::X;")],
    ];
    for files in harmless {
        assert_eq!(circles(&crate_of(&files)), [[""; 0]; 0], "{files:?}");
    }
}
