//! What the documents say of the product is so: every metric, exit code, setting and bound that they name is there, and
//! every one that is there is named.
//!
//! Not here: links between documents (`tests/tests/documents.rs`), commands in documents (`cli`), and whether alerts fire
//! when they should (`metrics_scrape`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use understudy::control::GuestRole;
use understudy::drill::record;
use understudy::metrics::Metrics;
use understudy_link::HoldReason;

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a document under one heading.
fn chapter<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("there is no {heading:?}"));
    rest.split("\n## ").next().expect("a split has a first part")
}

/// First cells of the rows of the tables in a text, without the heads.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" |").next())
        .filter(|cell| !cell.starts_with("--"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The page of a process that has had everything happen to it, and what a drill leaves beside it.
fn page() -> String {
    let metrics = Metrics::new();
    let mut meter = metrics.guest("g1");
    meter.set_role(GuestRole::Primary, 1);
    meter.set_protected(true);
    meter.paused(Duration::from_micros(900), [Duration::ZERO; 7], 1);
    meter.committed(Duration::from_millis(3));
    meter.copy_refused(Some(HoldReason::Memory));
    meter.full_sync(Some(0.5));
    meter.disk(Some(65_536), false);
    meter.took_over("silent");
    metrics.set_link("b", true);
    metrics.set_witness(true);
    metrics.set_certificate_expiry(Some(1_924_905_600));
    metrics.set_loop_stall(0.0);
    metrics.set_maintenance(true);
    metrics.set_fencing(Some(true), 1);
    metrics.begin_witness();
    metrics.begin_witness_answers();
    metrics.text() + &record::text(0, true, 1)
}

/// Names of all metrics, without `understudy_`.
fn measured() -> BTreeSet<String> {
    let page = page();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE understudy_"));
    types.filter_map(|line| line.split(' ').next()).map(String::from).collect()
}

#[test]
fn every_metric_is_in_the_table_and_every_one_of_the_table_is_measured() {
    let monitoring = document("docs/MONITORING.md");
    let documented: BTreeSet<String> = rows(chapter(&monitoring, "\n## Metrics and alerts"))
        .flat_map(quoted)
        .filter(|name| !name.contains('…'))
        .map(|name| name.split('{').next().unwrap_or(name).to_owned())
        .collect();
    assert_eq!(documented, measured(), "left: the table of docs/MONITORING.md, right: the page");
}

#[test]
fn every_label_value_that_the_table_names_is_one() {
    let monitoring = document("docs/MONITORING.md");
    let page = page();
    let table = chapter(&monitoring, "\n## Metrics and alerts");
    for (metric, label) in [
        ("checkpoints_total", "result"),
        ("policy_actions_total", "policy"),
        ("witness_requests_total", "outcome"),
        ("log_lines_lost_total", "cause"),
        ("pages_encoded_total", "kind"),
        ("failovers_total", "reason"),
        ("colo_released_total", "by"),
        ("colo_diverged_total", "why"),
    ] {
        let row = table.lines().find(|line| line.contains(&format!("`{metric}{{")));
        let row = row.unwrap_or_else(|| panic!("{metric} has no row with its labels"));
        let named: BTreeSet<&str> = quoted(row)
            .skip(1)
            .filter(|word| word.chars().all(|c| c.is_lowercase() || c.is_ascii_digit() || c == '_'))
            .collect();
        let is_this = |line: &&str| line.starts_with(&format!("understudy_{metric}{{"));
        let label = format!("{label}=\"");
        let values =
            page.lines().filter(is_this).filter_map(|line| line.split(&*label).nth(1)?.split('"').next());
        assert_eq!(named, values.collect(), "left: the row of {metric}, right: the page");
    }
}

#[test]
fn every_metric_that_an_alert_asks_for_is_measured() {
    let measured = measured();
    let rules = document("deploy/prometheus/understudy.rules.yml");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    for name in
        rules.split("understudy_").skip(1).map(|rest| rest.split(|c| !is_part(c)).next().unwrap_or(rest))
    {
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(measured.contains(family) || measured.contains(name), "an alert asks for {name}");
    }
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_understudy")).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exit_codes_are_the_same_in_the_help_and_in_the_table() {
    let help = help(&[]);
    let (_, told) = help.split_once("Exit codes:").expect("the help tells them");
    let told: BTreeSet<String> =
        told.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect();
    let operations = document("docs/OPERATIONS.md");
    let table: BTreeSet<String> = rows(chapter(&operations, "\n## Exit codes"))
        .filter(|code| code.len() == 1)
        .map(String::from)
        .collect();
    assert_eq!(table, told);
}

/// The long flags that a command's help lists.
fn flags(help: &str) -> BTreeSet<&str> {
    let at_the_beginning = help
        .lines()
        .map(str::trim_start)
        .filter_map(|line| line.split("--").nth(1).filter(|_| line.starts_with('-')));
    at_the_beginning
        .map(|flag| flag.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or(flag))
        .collect()
}

#[test]
fn the_shipped_configuration_has_every_setting() {
    let shipped = document("deploy/node.toml");
    let help = help(&["node"]);
    let elsewhere = ["config", "guest", "peer", "log", "log-json", "help", "version"];
    for flag in flags(&help).into_iter().filter(|flag| !elsewhere.contains(flag)) {
        // What the lab does, what etcd asks, and how copies are used have tables of their own.
        let in_table = ["lab-", "etcd-", "colo-"].iter().find_map(|table| flag.strip_prefix(table));
        let key = format!("{} = ", in_table.unwrap_or(flag).replace('-', "_"));
        assert!(
            shipped.lines().any(|line| line.trim_start_matches("# ").starts_with(&key)),
            "deploy/node.toml has no {key}"
        );
    }
}
