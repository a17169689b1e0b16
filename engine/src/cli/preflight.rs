//! `understudy preflight`: reports why a guest cannot be protected towards another host, before anybody tries.
//!
//! ```text
//!   tpvh from this host to host-b
//!
//!   refuse  name_taken   host-b has a domain named tpvh already; rename or destroy that one (…)
//!   warn    newer_xen    host-b runs Xen 4.20, newer than this host's 4.17: …
//!
//!   tpvh cannot be protected: 1 reason against it, 1 warning
//! ```

use super::{CliError, Exit, NodeArgs, OutputFormat, print, print_json};
use crate::config::human::parse_span;
use crate::preflight::facts::HostFacts;
use crate::preflight::finding::{Finding, Severity};
use crate::preflight::gather;
use crate::preflight::judge::{Other, judge};
use crate::preflight::linked::{self, LinkedError};
use crate::preflight::remote::{self, RemoteError};
use serde::Serialize;
use std::fmt::Write;
use understudy_session::Span;

/// Arguments of `preflight`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The guest, as `xl list` shows it
    #[arg(value_name = "GUEST", required_unless_present = "facts")]
    guest: Option<String>,
    /// The host that is to hold its copy; without this flag, only this host and the guest are checked. A peer of this host's node is
    /// asked over the link, any other host through --ssh
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Print the facts of this host, for another host to check
    #[arg(long, conflicts_with_all = ["guest", "to", "output"])]
    facts: bool,
    /// The command that reaches the other host, with its options, separated by spaces; if given, it is used for a peer as well
    /// [default: ssh]
    #[arg(long, value_name = "COMMAND")]
    ssh: Option<String>,
    #[command(flatten)]
    node: NodeArgs,
    /// How long the other host may take to answer
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "20s")]
    timeout: Span,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Gathers facts, judges them and prints the result. The exit code says whether the guest can be protected.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let Some(guest) = &args.guest else {
        print_json(&gather::host())?;
        return Ok(Exit::Ok);
    };
    let there = match &args.to {
        Some(to) => Some((to.as_str(), facts_of(&args, to)?)),
        None => None,
    };
    let other = there.as_ref().map(|(name, facts)| Other { name, facts });
    let findings = judge(guest, &gather::guest(guest), &gather::host(), other);
    let verdict = Verdict { guest, to: args.to.as_deref(), findings: &findings };
    match args.output {
        OutputFormat::Text => print(&verdict.text())?,
        OutputFormat::Json => print_json(&verdict.answer())?,
    }
    Ok(if verdict.can_be_protected() { Exit::Ok } else { Exit::CheckFailed })
}

/// The facts of the other host, by the way that leads there.
fn facts_of(args: &Args, to: &str) -> Result<HostFacts, CliError> {
    let node = args.node.client()?;
    match &args.ssh {
        None if linked::is_linked(&node, to) => Ok(linked::facts(&node, to, args.timeout.into())?),
        ssh => Ok(remote::facts(to, ssh.as_deref().unwrap_or("ssh"), args.timeout.into())?),
    }
}

impl From<LinkedError> for CliError {
    fn from(error: LinkedError) -> Self {
        match error {
            LinkedError::Node(error) => error.into(),
            LinkedError::Facts { .. } => Self::BadInput(one_line(&error.to_string())),
            LinkedError::Timeout { .. } | LinkedError::Untold(_) => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<RemoteError> for CliError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Host(_) | RemoteError::NoCommand => Self::Usage(error.to_string()),
            RemoteError::TooLong(_) | RemoteError::Facts { .. } => {
                Self::BadInput(one_line(&error.to_string()))
            }
            RemoteError::Start { command, source } => {
                let attempt = format!(
                    "{command}, which reaches the other host, cannot be run; give another with --ssh"
                );
                Self::System { attempt, source }
            }
            RemoteError::Timeout { .. } | RemoteError::Failed { .. } => {
                Self::Unreachable(one_line(&error.to_string()))
            }
        }
    }
}

/// The result, for people.
struct Verdict<'v> {
    guest: &'v str,
    to: Option<&'v str>,
    findings: &'v [Finding],
}

/// The result, for programs.
#[derive(Serialize)]
struct Answer<'v> {
    guest: &'v str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'v str>,
    can_be_protected: bool,
    findings: Vec<AnswerFinding>,
}

#[derive(Serialize)]
struct AnswerFinding {
    severity: &'static str,
    code: &'static str,
    text: String,
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Refuse => "refuse",
        Severity::Warn => "warn",
    }
}

impl Verdict<'_> {
    fn can_be_protected(&self) -> bool {
        self.count(Severity::Refuse) == 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity() == severity).count()
    }

    fn answer(&self) -> Answer<'_> {
        let findings = self.findings.iter().map(|finding| AnswerFinding {
            severity: word(finding.severity()),
            code: finding.code(),
            text: finding.to_string(),
        });
        let Self { guest, to, .. } = *self;
        Answer { guest, to, can_be_protected: self.can_be_protected(), findings: findings.collect() }
    }

    /// The text for people; refusals come first.
    fn text(&self) -> String {
        let mut text = match self.to {
            Some(to) => format!("{} from this host to {to}\n\n", self.guest),
            None => format!("{} on this host; no other one was named (--to)\n\n", self.guest),
        };
        let width = self.findings.iter().map(|finding| finding.code().len()).max().unwrap_or(0);
        for severity in [Severity::Refuse, Severity::Warn] {
            for finding in self.findings.iter().filter(|finding| finding.severity() == severity) {
                let (word, code) = (word(severity), finding.code());
                let _ = writeln!(text, "{word:6}  {code:width$}  {}", one_line(&finding.to_string()));
            }
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.sum());
        text
    }

    fn sum(&self) -> String {
        let many = |count, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut parts = Vec::new();
        if !self.can_be_protected() {
            parts.push(format!("{} against it", many(self.count(Severity::Refuse), "reason")));
        }
        if self.count(Severity::Warn) > 0 {
            parts.push(many(self.count(Severity::Warn), "warning"));
        }
        let can = if self.can_be_protected() { "can" } else { "cannot" };
        let colon = if parts.is_empty() { "" } else { ": " };
        format!("{} {can} be protected{colon}{}", self.guest, parts.join(", "))
    }
}

/// One line of text without control characters, because a part of it may come from another host.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::finding::HostName;

    fn findings() -> [Finding; 2] {
        let host = || HostName::Other("b".into());
        [
            Finding::Unlearnt { host: host(), why: "a\u{1b}[2Jb\nc".into() },
            Finding::NameTaken { host: host(), guest: "web".into() },
        ]
    }

    #[test]
    fn a_person_reads_what_refuses_first_and_never_a_terminals_commands() {
        let verdict = Verdict { guest: "web", to: Some("b"), findings: &findings() };
        let expected = "\
web from this host to b

refuse  name_taken  b has a domain named web already; rename or destroy that one (is b this host?)
warn    unlearnt    Some facts about b could not be determined: a?[2Jb?c

web cannot be protected: 1 reason against it, 1 warning
";
        assert_eq!(verdict.text(), expected);
        let clean = Verdict { guest: "web", to: None, findings: &[] };
        assert_eq!(clean.text(), "web on this host; no other one was named (--to)\n\nweb can be protected\n");
        let warned = Verdict { findings: &findings()[..1], ..clean };
        assert!(warned.text().ends_with("\nweb can be protected: 1 warning\n"));
    }

    #[test]
    fn a_program_reads_the_same() {
        let findings = findings();
        let verdict = Verdict { guest: "web", to: Some("b"), findings: &findings };
        let answer = serde_json::to_value(verdict.answer()).unwrap();
        assert_eq!(answer["can_be_protected"], false);
        assert_eq!(answer["findings"][1]["code"], "name_taken");
        assert_eq!(answer["findings"][1]["severity"], "refuse");
        assert_eq!(answer["findings"].as_array().unwrap().len(), 2);
    }
}
