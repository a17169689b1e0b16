//! Metrics as Prometheus sees them: Debian's real `prometheus` scrapes running processes, and `promtool` judges
//! the page and the alert rules. Needs the Debian package `prometheus`, which `tests/run` installs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::GuestRole;
use understudy::metrics::Metrics;
use understudy_checkpoint::pages::EncodeStats;

/// GET over HTTP/1.1; the status line and the body.
fn get(address: SocketAddr, target: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HANG_GUARD))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/prometheus/understudy.rules.yml")
        .canonicalize()
        .unwrap()
}

fn promtool(args: &[&str], input: &str) -> String {
    let mut process = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs the Debian package `prometheus`");
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    assert!(output.status.success(), "promtool {args:?}: {words}");
    words
}

/// Prometheus, scraping these addresses five times a second.
fn prometheus(directory: &Path, targets: &[SocketAddr]) -> (Running, SocketAddr) {
    let address = free_address();
    let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
    let config = format!(
        "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\n\
         rule_files: [ \"{}\" ]\n\
         scrape_configs: [ {{ job_name: understudy, static_configs: [ {{ targets: [ {targets} ] }} ] }} ]\n",
        rules().display()
    );
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let process = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test needs the Debian package `prometheus`");
    (Running(process), address)
}

/// Asks until the query has a result that `is_right` accepts.
fn wait_for(prometheus: SocketAddr, query: &str, is_right: impl Fn(&str) -> bool) {
    let escape =
        |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", c as u8) };
    let query: String = query.chars().map(escape).collect();
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < HANG_GUARD {
        if let Ok((_, body)) = get(prometheus, &format!("/api/v1/query?query={query}")) {
            if body.contains("\"value\"") && is_right(&body) {
                return;
            }
            last = body;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{query} never became right: {last}");
}

#[test]
fn prometheus_scrapes_a_witness_and_promtool_has_nothing_to_say() {
    let directory = tempfile::tempdir().unwrap();
    let (_witness, _, metrics) = witness(directory.path(), "127.0.0.1:0", &[]);
    let (status, page) = get(metrics, "/metrics").unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    let words = promtool(&["check", "metrics"], &page);
    assert!(words.trim().is_empty(), "promtool: {words}");
    assert_eq!(get(metrics, "/").unwrap().0, "HTTP/1.1 404 Not Found");

    let (_prometheus, address) = prometheus(directory.path(), &[metrics]);
    wait_for(address, "up", |body| body.contains("\"1\""));
    wait_for(address, "understudy_build_info", |body| body.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn prometheus_sees_a_guest_become_protected_and_its_checkpoints_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (_witness, listen, witness_metrics) = witness(directory.path(), "127.0.0.1:0", &[]);
    let (a, b, witness) = (free_address(), free_address(), listen.to_string());
    let (_b, b_metrics) = node("b", directory.path(), b, &["--witness", &witness]);
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed";
    let more = ["--witness", &witness, "--peer", &format!("b={b}"), "--guest", guest];
    let (a, a_metrics) = node("a", directory.path(), a, &more);
    let targets = [witness_metrics, a_metrics, b_metrics];
    let (_prometheus, address) = prometheus(directory.path(), &targets);

    let one = |body: &str| body.contains(",\"1\"]");
    wait_for(address, "max(understudy_protected{guest=\"g1\"})", one);
    wait_for(address, "max(understudy_role_info{guest=\"g1\",role=\"secondary\"})", one);
    wait_for(address, "min(understudy_witness_up)", one);
    wait_for(address, "rate(understudy_checkpoints_total{result=\"acked\"}[5s])>bool(1)", one);
    wait_for(address, "sum(understudy_witness_requests_total{outcome=\"swapped\"})>bool(1)", one);
    for metrics in targets {
        let words = promtool(&["check", "metrics"], &get(metrics, "/metrics").unwrap().1);
        assert!(words.trim().is_empty(), "promtool: {words}");
    }
    // The first takeover of a node's life is an increase, since what counts it was there before.
    drop(a);
    wait_for(address, "sum(increase(understudy_failovers_total{guest=\"g1\"}[30s]))>bool(0)", one);
}

#[test]
fn promtool_has_nothing_to_say_about_a_guest() {
    let metrics = Metrics::new();
    let mut meter = metrics.guest("g1");
    meter.set_role(GuestRole::Primary, 1);
    meter.set_protected(true);
    meter.paused(Duration::from_micros(900), [Duration::from_micros(150); 7], 1000);
    meter.committed(Duration::from_millis(3));
    meter.encoded(&EncodeStats { zero: 1, unchanged: 2, delta: 3, lz4: 4, raw: 5, ..EncodeStats::default() });
    meter.stretched();
    meter.took_over("silent");
    metrics.set_link("b", true);
    metrics.set_witness(true);
    let words = promtool(&["check", "metrics"], &metrics.text());
    assert!(words.trim().is_empty(), "promtool: {words}");
}

/// What is tested of the rules; certificates apart, for their tests take weeks.
const TESTS: [&str; 2] = ["understudy.test.yml", "expiry.test.yml"];

#[test]
fn alerts_notice_what_they_should_and_nothing_else() {
    promtool(&["check", "rules", rules().to_str().unwrap()], "");
    for tests in TESTS {
        promtool(&["test", "rules", rules().with_file_name(tests).to_str().unwrap()], "");
    }
}

/// The alerts of the rules, each with the lines of its rule.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let rules = rules.split("- alert: ").skip(1);
    rules.map(|rule| rule.split_once('\n').expect("a rule has lines")).collect()
}

/// Whether a test expects this alert: to fire, and not to.
fn expected(tests: &str, alert: &str) -> (bool, bool) {
    let named = format!("alertname: {alert}\n");
    let cases = tests.split("- eval_time: ").filter(|case| case.contains(&named));
    cases.fold((false, false), |(fires, stays), case| {
        let silent = case.contains("exp_alerts: []");
        (fires || (!silent && case.contains("exp_labels:")), stays || silent)
    })
}

#[test]
fn each_alert_is_seen_to_fire_and_not_to_and_leads_to_what_to_do() {
    let read = |path: &str| std::fs::read_to_string(rules().with_file_name(path)).unwrap();
    let (rules, tests) = (read("understudy.rules.yml"), TESTS.map(read).concat());
    let document = read("../../docs/MONITORING.md");
    let alerts = alerts(&rules);
    assert!(alerts.len() > 20);
    for (alert, rule) in alerts {
        assert_eq!(
            expected(&tests, alert),
            (true, true),
            "{alert}: a test in which it fires, and one in which not"
        );
        let anchor = alert.to_lowercase();
        assert!(rule.contains(&format!("runbook_url: \"docs/MONITORING.md#{anchor}\"")), "{alert}: {rule}");
        assert!(document.contains(&format!("<a id=\"{anchor}\"></a>`{alert}`")), "{alert} is in no table");
    }
    let untested = tests.replace("alertname: UnderstudyLinkDown\n", "alertname: UnderstudyOther\n");
    assert_eq!(
        expected(&untested, "UnderstudyLinkDown"),
        (false, false),
        "an alert without tests is noticed"
    );
}
