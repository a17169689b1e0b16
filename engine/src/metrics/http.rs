//! The page `/metrics`: as much of HTTP/1.1 as a scrape needs. Pure, but for [`open_server`].

use super::Metrics;
use crate::request_server::RequestServer;
use mio::Registry;
use mio::net::TcpListener;
use std::io;
use std::net::SocketAddr;

/// Content type of Prometheus's text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a request's head is complete. A GET has no body. Lines may end without a carriage return (RFC 9112, 2.2).
fn is_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|end| end == b"\r\n\r\n") || bytes.windows(2).any(|end| end == b"\n\n")
}

/// Whether a request can be answered: its head is complete, or it is no HTTP request at all, such as a TLS hello.
fn is_answerable(bytes: &[u8]) -> bool {
    let begins_as_request =
        bytes.first().is_none_or(|byte| byte.is_ascii_uppercase() || [b'\r', b'\n'].contains(byte));
    is_head(bytes) || !begins_as_request
}

/// Listens at `address`, using [`SERVER_TOKENS`](crate::request_server::SERVER_TOKENS) tokens from `first_token` on. Metrics
/// are read only and no secret, so the address need not be on loopback.
pub fn open_server(
    address: SocketAddr,
    registry: &Registry,
    first_token: usize,
) -> io::Result<RequestServer<TcpListener>> {
    RequestServer::open(TcpListener::bind(address)?, registry, first_token, is_answerable)
}

/// The response to a request's head.
pub fn respond(request: &[u8], metrics: &Metrics) -> Vec<u8> {
    let (status, content_type, allow, body) = match route(request) {
        Ok(()) => ("200 OK", TEXT_FORMAT, "", metrics.text()),
        Err(Problem::NotFound) => ("404 Not Found", "text/plain", "", "There is only /metrics\n".into()),
        Err(Problem::NotAllowed) => {
            ("405 Method Not Allowed", "text/plain", "Allow: GET, HEAD\r\n", "There is only GET\n".into())
        }
        Err(Problem::BadRequest) => ("400 Bad Request", "text/plain", "", "This is not HTTP\n".into()),
    };
    let length = body.len();
    let head =
        format!("Content-Type: {content_type}\r\n{allow}Content-Length: {length}\r\nConnection: close");
    // Who asks for the head gets the head, and how long the body would be.
    let body = if request.starts_with(b"HEAD ") { String::new() } else { body };
    format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}").into_bytes()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Problem {
    BadRequest,
    NotAllowed,
    NotFound,
}

fn route(request: &[u8]) -> Result<(), Problem> {
    if !is_head(request) {
        return Err(Problem::BadRequest);
    }
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut words = std::str::from_utf8(line).map_err(|_| Problem::BadRequest)?.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err(Problem::BadRequest);
    };
    let path = path_of(target).split('?').next().unwrap_or_default();
    match (version.starts_with("HTTP/1."), method, path) {
        (false, ..) => Err(Problem::BadRequest),
        (true, "GET" | "HEAD", "/metrics") => Ok(()),
        (true, "GET" | "HEAD", _) => Err(Problem::NotFound),
        (true, ..) => Err(Problem::NotAllowed),
    }
}

/// The path of a target, which may be a whole URL (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    match target.strip_prefix("http://") {
        Some(url) => url.find('/').map_or("/", |at| &url[at..]),
        None => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::GuestRole;
    use crate::guest::OutputStats;
    use std::time::Duration;
    use understudy_checkpoint::pages::EncodeStats;

    fn status_line(request: &str) -> String {
        let response = String::from_utf8(respond(request.as_bytes(), &Metrics::new())).unwrap();
        response.lines().next().unwrap().to_owned()
    }

    #[test]
    fn only_a_get_of_metrics_is_served() {
        assert_eq!(status_line("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status_line("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status_line("GET /metrics HTTP/1.1\nHost: x\n\n"), "HTTP/1.1 200 OK");
        assert_eq!(status_line("GET http://h:9101/metrics?x HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status_line("GET http://h HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status_line("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status_line("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status_line("HEAD /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        let head = respond(b"HEAD /metrics HTTP/1.1\r\n\r\n", &Metrics::new());
        assert!(head.ends_with(b"\r\n\r\n"), "a head has no body");
        for request in ["GET /metrics", "GET\r\n\r\n", "\r\n\r\n", "GET /metrics SMTP\r\n\r\n"] {
            assert_eq!(status_line(request), "HTTP/1.1 400 Bad Request", "{request:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_answered_at_once() {
        assert!(!is_answerable(b"GET /metrics HTTP/1.1\r\nHost:"), "there is more to come");
        assert!(!is_answerable(b""));
        // The first bytes of a TLS client.
        let hello = [0x16, 3, 1, 2];
        assert!(is_answerable(&hello));
        assert!(respond(&hello, &Metrics::new()).starts_with(b"HTTP/1.1 400 "));
    }

    #[test]
    fn a_guest_shows_what_happened_and_stops_showing_what_is_no_longer_true() {
        let metrics = Metrics::new();
        let mut meter = metrics.guest("g1");
        meter.set_role(GuestRole::Primary, 1);
        meter.set_role(GuestRole::Primary, 2);
        meter.set_protected(true);
        meter.paused(Duration::from_micros(900), [Duration::from_micros(150); 7], 1000);
        meter.committed(Duration::from_millis(3));
        meter.encoded(&EncodeStats { delta: 600, unchanged: 400, ..EncodeStats::default() });
        meter.sent(12_345);
        meter.output(&OutputStats {
            held_bytes: 100,
            held_frames: 2,
            dropped_frames: 3,
            ..OutputStats::default()
        });
        meter.output(&OutputStats { held_share: 0.25, dropped_frames: 5, ..OutputStats::default() });
        let text = metrics.text();
        for line in [
            "understudy_checkpoint_pause_seconds_bucket{guest=\"g1\",le=\"0.001\"} 1",
            "understudy_checkpoint_pause_part_seconds_count{guest=\"g1\",part=\"copy\"} 1",
            "understudy_checkpoint_dirty_pages_sum{guest=\"g1\"} 1000",
            "understudy_checkpoints_total{guest=\"g1\",result=\"acked\"} 1",
            "understudy_pages_encoded_total{guest=\"g1\",kind=\"unchanged\"} 400",
            "understudy_stream_raw_bytes_total{guest=\"g1\"} 4096000",
            "understudy_stream_sent_bytes_total{guest=\"g1\"} 12345",
            "understudy_role_info{generation=\"2\",guest=\"g1\",role=\"primary\"} 1",
            "understudy_netbuf_dropped_frames_total{guest=\"g1\"} 5",
            "understudy_protected{guest=\"g1\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("generation=\"1\""), "the old generation is gone");
        assert!(text.contains("understudy_checkpoints_total{guest=\"g1\",result=\"declined\"} 0"));
        assert!(text.contains("understudy_policy_actions_total{guest=\"g1\",policy=\"unprotect\"} 0"));
        drop(meter);
        let text = metrics.text();
        assert!(!text.contains("understudy_protected{"), "a guest that left is neither protected nor not");
        assert!(text.contains("understudy_checkpoints_total{guest=\"g1\""), "what was counted stays");
    }

    #[test]
    fn sizes_are_those_of_now_and_go_with_the_guest() {
        let metrics = Metrics::new();
        let mut meter = metrics.guest("g1");
        assert!(!metrics.text().contains("understudy_full_sync_ratio{"), "there is no full sync");
        assert!(!metrics.text().contains("understudy_disk_failed{"), "it has no disk");
        meter.disk(Some(131_072), true);
        meter.full_sync(Some(1.5));
        meter.in_flight(2, 3000);
        meter.encoder_takes(4096, 8192);
        meter.holds(1 << 20, 7);
        meter.output(&OutputStats {
            held_bytes: 9,
            held_frames: 2,
            held_share: 0.5,
            ..OutputStats::default()
        });
        meter.took_over("silent");
        let text = metrics.text();
        for line in [
            "full_sync_ratio{guest=\"g1\"} 1\n",
            "disk_behind_bytes{guest=\"g1\"} 131072",
            "disk_failed{guest=\"g1\"} 1",
            "epochs_in_flight{guest=\"g1\"} 2",
            "in_flight_bytes{guest=\"g1\"} 3000",
            "shadow_bytes{guest=\"g1\"} 4096",
            "staging_bytes{guest=\"g1\"} 8192",
            "image_bytes{guest=\"g1\"} 1048576",
            "inbox_bytes{guest=\"g1\"} 7",
            "netbuf_held_frames{guest=\"g1\"} 2",
            "netbuf_held_ratio{guest=\"g1\"} 0.5",
            "last_takeover_timestamp_seconds{guest=\"g1\"} ",
        ] {
            assert!(text.contains(&format!("understudy_{line}")), "{line} is not in\n{text}");
        }
        meter.full_sync(None);
        assert!(!metrics.text().contains("understudy_full_sync_ratio{"), "it is over");
        meter.full_sync(Some(0.1));
        drop(meter);
        let text = metrics.text();
        for gone in [
            "full_sync_ratio{",
            "disk_behind_bytes{",
            "disk_failed{",
            "epochs_in_flight{",
            "in_flight_bytes{",
            "image_bytes{",
            "netbuf_held_ratio{",
        ] {
            assert!(!text.contains(&format!("understudy_{gone}")), "{gone} is still in\n{text}");
        }
        assert!(text.contains("understudy_last_takeover_timestamp_seconds{"), "what happened stays");
    }

    #[test]
    fn every_counter_of_a_guest_is_there_before_its_first_event() {
        let metrics = Metrics::new();
        metrics.begin_witness();
        metrics.begin_witness_answers();
        let _meter = metrics.guest("g1");
        let text = metrics.text();
        let sources = [include_str!("families.rs"), include_str!("mod.rs")].concat();
        let mut counters = 0;
        for name in sources.split('"').filter(|word| word.ends_with("_total")) {
            assert!(text.contains(&format!("\nunderstudy_{name}{{")), "{name} is not there at first");
            counters += 1;
        }
        assert!(counters >= 10, "the names of counters are not found any more: {counters}");
    }

    #[test]
    fn a_full_copy_is_no_commit_latency_and_a_secondary_counts_no_checkpoints() {
        let metrics = Metrics::new();
        let mut primary = metrics.guest("g1");
        primary.set_role(GuestRole::Primary, 1);
        assert!(!metrics.text().contains("understudy_last_commit_timestamp_seconds{"), "there is none yet");
        primary.full_copy_begun();
        primary.committed(Duration::from_secs(30));
        primary.committed(Duration::from_millis(3));
        let mut secondary = metrics.guest("g2");
        secondary.set_role(GuestRole::Secondary, 1);
        secondary.committed(Duration::from_millis(1));
        let text = metrics.text();
        for line in [
            "understudy_checkpoint_commit_seconds_count{guest=\"g1\"} 1",
            "understudy_checkpoints_total{guest=\"g1\",result=\"acked\"} 2",
            "understudy_checkpoint_commit_seconds_count{guest=\"g2\"} 0",
            "understudy_checkpoints_total{guest=\"g2\",result=\"acked\"} 0",
            "understudy_last_commit_timestamp_seconds{guest=\"g2\"} ",
            "process_resident_memory_bytes ",
            "understudy_log_lines_lost_total{cause=\"unread\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
