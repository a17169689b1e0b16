//! Names that settings had in the version before. They work for one version more, and a warning says what to write instead.
//!
//! ```text
//!   --grace ───── clap: a hidden alias ──┐
//!   grace = … ─── serde: an alias ───────┼─► the setting `link_grace`
//!                                        └─► RENAMED ─► "--grace is now --link-grace; …"
//! ```
//!
//! Aliases stand at the settings. That each name of this table has its alias, and no other, is what the tests are for.

use std::ffi::OsStr;
use std::fmt;

/// A setting that was called otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renamed {
    /// The table that the key stands in; empty where the name is that of tables itself.
    table: &'static str,
    former: &'static str,
    now: &'static str,
}

const fn renamed(table: &'static str, former: &'static str, now: &'static str) -> Renamed {
    Renamed { table, former, now }
}

/// All of them.
pub const RENAMED: [Renamed; 6] = [
    renamed("timing", "silence", "silence_max"),
    renamed("timing", "grace", "link_grace"),
    renamed("timing", "hold", "hold_max"),
    renamed("timing", "slow", "slow_max"),
    renamed("limits", "in_flight", "in_flight_max"),
    renamed("", "domain", "guest"),
];

impl Renamed {
    fn flag(name: &str) -> String {
        format!("--{}", name.replace('_', "-"))
    }

    fn key(self, name: &str) -> String {
        if self.table.is_empty() { format!("[[{name}]]") } else { format!("{}.{name}", self.table) }
    }

    fn is_in(self, file: &toml::Table) -> bool {
        match self.table {
            "" => file.contains_key(self.former),
            table => {
                let table = file.get(table).and_then(toml::Value::as_table);
                table.is_some_and(|table| table.contains_key(self.former))
            }
        }
    }
}

/// A former name that was used, as a warning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Warning {
    /// As a flag.
    Flag(Renamed),
    /// As a key of a file.
    Key(Renamed),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (former, now) = match self {
            Self::Flag(it) => (Renamed::flag(it.former), Renamed::flag(it.now)),
            Self::Key(it) => (it.key(it.former), it.key(it.now)),
        };
        write!(f, "{former} is now {now}; the next version does not know {former}")
    }
}

/// What is to be said about the words of a command line. No value of a setting begins with `--`.
pub fn in_flags(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for word in words {
        let Some(word) = word.as_ref().to_str() else { continue };
        let flag = word.split_once('=').map_or(word, |(flag, _)| flag);
        let found = RENAMED.into_iter().find(|it| Renamed::flag(it.former) == flag).map(Warning::Flag);
        warnings.extend(found.filter(|warning| !warnings.contains(warning)));
    }
    warnings
}

/// What is to be said about a configuration file; nothing if it cannot be read, which is told elsewhere.
pub fn in_file(text: &str) -> Vec<Warning> {
    let Ok(file) = text.parse::<toml::Table>() else { return Vec::new() };
    RENAMED.into_iter().filter(|it| it.is_in(&file)).map(Warning::Key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    /// A value that the setting takes, as in a file; not its default.
    fn value(setting: Renamed) -> &'static str {
        match setting.now {
            "guest" => "name=web",
            "in_flight_max" => "5",
            _ => "\"700ms\"",
        }
    }

    fn from_flag(setting: Renamed, name: &str) -> String {
        let words = ["node".to_owned(), Renamed::flag(name), value(setting).trim_matches('"').to_owned()];
        format!("{:?}", Line::try_parse_from(words).unwrap().settings)
    }

    fn file(setting: Renamed, name: &str) -> String {
        match setting.table {
            "" => format!("[[{name}]]\nname = \"web\"\n"),
            table => format!("[{table}]\n{name} = {}\n", value(setting)),
        }
    }

    fn from_file(text: &str) -> String {
        format!("{:?}", toml::from_str::<Settings>(text).unwrap())
    }

    #[test]
    fn each_former_name_means_what_its_new_one_does_and_warns() {
        for it in RENAMED {
            assert_eq!(from_flag(it, it.former), from_flag(it, it.now), "{it:?}");
            assert_ne!(from_flag(it, it.now), format!("{:?}", Settings::default()), "{it:?}");
            assert_eq!(in_flags([Renamed::flag(it.former)]), [Warning::Flag(it)]);
            assert_eq!(in_flags([Renamed::flag(it.former) + "=1"]), [Warning::Flag(it)]);
            assert_eq!(in_flags([Renamed::flag(it.now)]), []);

            let (former, now) = (file(it, it.former), file(it, it.now));
            assert_eq!(from_file(&former), from_file(&now), "{it:?}");
            assert_ne!(from_file(&now), from_file(""), "{it:?}");
            assert_eq!(in_file(&former), [Warning::Key(it)]);
            assert_eq!(in_file(&now), []);
        }
    }

    #[test]
    fn each_alias_of_a_flag_is_in_the_table() {
        let command = Line::command();
        let aliases = command.get_arguments().filter_map(clap::Arg::get_all_aliases).flatten();
        let mut aliases: Vec<String> = aliases.map(|alias| format!("--{alias}")).collect();
        let mut listed: Vec<String> = RENAMED.iter().map(|it| Renamed::flag(it.former)).collect();
        aliases.sort_unstable();
        listed.sort_unstable();
        assert_eq!(aliases, listed);
    }

    #[test]
    fn both_names_at_once_are_refused() {
        let both = "[timing]\ngrace = \"1ms\"\nlink_grace = \"2ms\"\n";
        let error = toml::from_str::<Settings>(both).unwrap_err().to_string();
        assert!(error.contains("duplicate field `link_grace`"), "{error}");
        assert!(Line::try_parse_from(["node", "--grace", "1ms", "--link-grace", "2ms"]).is_err());
    }

    fn texts(warnings: &[Warning]) -> Vec<String> {
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_warning_says_what_to_write() {
        let said = texts(&in_file("[timing]\ngrace = \"1ms\""));
        assert_eq!(
            said,
            ["timing.grace is now timing.link_grace; the next version does not know timing.grace"]
        );
        let said = texts(&in_flags(["--witness", "--in-flight=3", "--in-flight=4"]));
        assert_eq!(said, ["--in-flight is now --in-flight-max; the next version does not know --in-flight"]);
    }

    #[test]
    fn operators_are_told_every_former_name() {
        let row = |it: &Renamed| {
            let flag = Renamed::flag;
            format!(
                "| `{}`, `{}` | `{}`, `{}` |\n",
                flag(it.former),
                it.key(it.former),
                flag(it.now),
                it.key(it.now)
            )
        };
        let table: String = RENAMED.iter().map(row).collect();
        let document = include_str!("../../../docs/SETTINGS.md");
        assert!(document.contains(&table), "docs/SETTINGS.md should say:\n{table}");
    }
}
