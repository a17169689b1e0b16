//! `understudy remus`: takes the arguments of `xl remus`, passes the work to this host's node, and stays in the
//! foreground until protection ends.
//!
//! ```text
//!   xl remus [options] DOM HOST ──► Args ──decide──► Order: guest, host, interval, notices ──► follow
//!                                         └────────► RemusError: an option that is refused, or not supported yet
//! ```
//!
//! The node does the work, as for `protect`. This file decides what each option means here, and docs/XEN.md
//! documents it. Not here: watching until the end ([`follow`]).

mod blackhole;
mod error;
mod follow;

pub(super) use error::RemusError;

use super::{CliError, Exit};
use crate::config::FindChanges;
use crate::console;
use crate::control::DEFAULT_PATH;
use std::path::PathBuf;

/// Arguments of `remus`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Checkpoint every MS milliseconds, counted from the end of a pause [default: the node's interval]
    #[arg(short = 'i', value_name = "MS")]
    interval_ms: Option<u32>,
    /// Accepted without effect: pages are encoded as always
    #[arg(short = 'u')]
    uncompressed: bool,
    /// Accepted without effect: checkpoints use the link between the nodes
    #[arg(short = 's', value_name = "COMMAND")]
    ssh_command: Option<String>,
    /// Accepted without effect: the node of the other host watches the guest that it took over
    #[arg(short = 'e')]
    no_wait: bool,
    /// Accepted without effect: the node holds output itself
    #[arg(short = 'N', value_name = "SCRIPT")]
    netbuf_script: Option<String>,
    /// Allow -b, -n and -d
    #[arg(short = 'F')]
    allow_unsafe: bool,
    /// Discard the checkpoints, to see what they cost; needs -F. HOST is ignored, and no node is needed
    #[arg(short = 'b')]
    blackhole: bool,
    /// Accepted with -F, without effect: output is held all the same
    #[arg(short = 'n')]
    no_netbuf: bool,
    /// No disk replication; needs -F. A guest with disks is still refused
    #[arg(short = 'd')]
    no_diskbuf: bool,
    /// Not yet: COLO
    #[arg(short = 'c')]
    colo: bool,
    /// Not yet: COLO with its proxy in userspace; needs -c
    #[arg(short = 'p')]
    userspace_proxy: bool,
    /// How changed pages are found (not an option of xl's); `compare` is for PV guests where Xen has no log
    #[arg(long, value_name = "HOW")]
    find_changes: Option<FindChanges>,
    /// Control socket of the node of this host
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_CONTROL", default_value = DEFAULT_PATH)]
    control: PathBuf,
    /// Name or domain number of the guest
    #[arg(value_name = "DOM")]
    domain: String,
    /// The peer that is to hold its copy, or that peer's address
    #[arg(value_name = "HOST")]
    host: String,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Order {
    /// As given: a name or a number.
    domain: String,
    /// As given: a peer, or an address.
    host: String,
    /// `None`: the node's interval.
    interval_ms: Option<u32>,
    /// `None`: by Xen's log.
    find_changes: Option<FindChanges>,
    /// Discard the checkpoints.
    is_blackhole: bool,
    /// A line for each option that is accepted without effect.
    notices: Vec<&'static str>,
}

/// Decides what to do, asks the node, and stays.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let control = args.control.clone();
    let order = args.decide()?;
    order.notices.iter().for_each(|notice| console::complain(format_args!("understudy: {notice}")));
    if order.is_blackhole { blackhole::run(&order) } else { follow::run(&control, &order) }
}

impl Args {
    /// Decides what to do, or why not.
    fn decide(self) -> Result<Order, RemusError> {
        self.check()?;
        let notices = [
            (
                self.uncompressed,
                "-u has no effect: pages go as the cheapest of their encodings, as without it",
            ),
            (self.ssh_command.is_some(), "-s has no effect: checkpoints take the link between the nodes"),
            (self.no_wait, "-e has no effect: the node of the other host watches over what it took over"),
            (self.netbuf_script.is_some(), "-N has no effect: the node holds output without a script"),
            (
                self.no_netbuf,
                "-n has no effect: output waits for its checkpoint all the same, or a takeover would take back what \
                 clients have seen; if it waits too long, make -i smaller",
            ),
            (
                self.no_diskbuf,
                "-d has no effect: disks are not replicated, and a guest that has any is refused",
            ),
        ];
        Ok(Order {
            domain: self.domain,
            host: self.host,
            // xl takes 0 for its default as well.
            interval_ms: self.interval_ms.filter(|ms| *ms > 0),
            find_changes: self.find_changes,
            is_blackhole: self.blackhole,
            notices: notices.into_iter().filter_map(|(given, notice)| given.then_some(notice)).collect(),
        })
    }

    fn check(&self) -> Result<(), RemusError> {
        let unsafe_options = [('b', self.blackhole), ('n', self.no_netbuf), ('d', self.no_diskbuf)];
        let given = unsafe_options.into_iter().find_map(|(option, given)| given.then_some(option));
        match given {
            _ if self.colo && (given.is_some() || self.interval_ms.is_some()) => {
                Err(RemusError::ColoConflict)
            }
            _ if self.colo => Err(RemusError::Colo),
            _ if self.userspace_proxy => Err(RemusError::ProxyWithoutColo),
            Some(option) if !self.allow_unsafe => Err(RemusError::NeedsUnsafe(option)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(["remus"].into_iter().chain(line.split(' '))).map(|line| line.args)
    }

    fn decide(line: &str) -> Result<Order, RemusError> {
        parse(line).unwrap().decide()
    }

    #[test]
    fn what_stock_takes_is_taken_and_what_has_no_effect_is_said() {
        let plain = decide("web host-b").unwrap();
        let expected = Order {
            domain: "web".into(),
            host: "host-b".into(),
            interval_ms: None,
            find_changes: None,
            is_blackhole: false,
            notices: Vec::new(),
        };
        assert_eq!(plain, expected);
        assert_eq!(decide("-i 40 web b").unwrap().interval_ms, Some(40));
        assert_eq!(decide("-i0 web b").unwrap().interval_ms, None, "stock's default, and so the node's");
        let compared = decide("web b --find-changes compare").unwrap();
        assert_eq!(compared.find_changes, Some(FindChanges::Compare));
        assert_eq!(decide("web b -F").unwrap().notices, Vec::<&str>::new());
        for (line, options) in [
            ("-u web b", "u"),
            ("-e web b", "e"),
            ("-s ssh web b", "s"),
            ("-s  web b", "s"),
            ("-N /x web b", "N"),
            ("-Fd web b", "d"),
            ("-Fn web b", "n"),
            ("-Fnd web b", "nd"),
            ("-Fdue -i 100 -s ssh web b", "used"),
        ] {
            let order = decide(line).unwrap();
            assert_eq!((order.domain.as_str(), order.host.as_str()), ("web", "b"), "{line}");
            let mut said: Vec<char> =
                order.notices.iter().map(|notice| notice.chars().nth(1).unwrap()).collect();
            let mut expected: Vec<char> = options.chars().collect();
            said.sort_unstable();
            expected.sort_unstable();
            assert_eq!(said, expected, "{line}");
        }
    }

    #[test]
    fn what_is_less_safe_needs_the_option_that_says_so() {
        for option in ['b', 'n', 'd'] {
            assert_eq!(decide(&format!("-{option} web b")), Err(RemusError::NeedsUnsafe(option)));
        }
        assert!(decide("-F -b web b").unwrap().is_blackhole);
        assert_eq!(decide("-Fbn web b").unwrap().notices.len(), 1, "-b has its effect");
    }

    #[test]
    fn colo_is_told_from_wrong_usage_of_it() {
        assert_eq!(decide("-c web b"), Err(RemusError::Colo));
        assert_eq!(decide("-c -p web b"), Err(RemusError::Colo));
        assert_eq!(decide("-p web b"), Err(RemusError::ProxyWithoutColo));
        for line in ["-c -i 5 web b", "-c -Fb web b", "-c -n web b", "-c -Fd web b"] {
            assert_eq!(decide(line), Err(RemusError::ColoConflict), "{line}");
        }
    }

    #[test]
    fn what_stock_does_not_take_is_refused() {
        for line in ["web", "-i web b", "-i 1s web b", "-i -5 web b", "-x web b", "web b c"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
