//! nginx with static files, and clients that know their bytes. Its reply tells the second: the head is not judged but for its
//! first line and the length it tells.

use crate::client::{HANG, Tally, Wrong};
use crate::place::{Place, Service};
use crate::service::Pattern;
use crate::world::Family;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use understudy_tests::drivers::rng::Rng;

/// Where it listens.
pub(crate) const PORT: u16 = 80;

/// The files: the name of each is its place here.
const FILES_BYTES: [u32; 3] = [50, 5_000, 1_000_000];

/// `directory` is this guest's alone.
pub(crate) fn start(place: &Place, directory: &Path) -> Result<Service, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(failed)?;
    for number in 0..FILES_BYTES.len() {
        std::fs::write(directory.join(number.to_string()), file(number)).map_err(failed)?;
    }
    let root = directory.display();
    let configuration = format!(
        "daemon off; master_process off; pid {root}/pid; error_log /dev/null;\n\
         events {{ worker_connections 1000; }}\n\
         http {{ access_log off; etag off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
         fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
         server {{ listen 80; listen [::]:80; root {root}; add_header Last-Modified \"\"; }} }}\n"
    );
    let path = directory.join("nginx.conf");
    std::fs::write(&path, configuration).map_err(failed)?;
    place.start("nginx", &["-c", &path.to_string_lossy()], Stdio::null())
}

fn file(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; FILES_BYTES[number].next_multiple_of(8) as usize];
    Pattern::new(number as u64 + 1, FILES_BYTES[number]).next(&mut bytes);
    bytes.truncate(FILES_BYTES[number] as usize);
    bytes
}

/// One client, until it is told to end: connections one after the other, each for a few files.
pub(crate) fn visit(family: Family, mut rng: Rng, is_ending: &AtomicBool) -> Result<Tally, Wrong> {
    let files: Vec<_> = (0..FILES_BYTES.len()).map(file).collect();
    let mut tally = Tally::default();
    let mut is_last = false;
    while !is_last {
        is_last = is_ending.load(Ordering::Acquire);
        let stream = TcpStream::connect_timeout(&SocketAddr::new(family.guest(), PORT), HANG)?;
        stream.set_read_timeout(Some(HANG))?;
        stream.set_write_timeout(Some(HANG))?;
        let mut stream = BufReader::new(stream);
        tally.connections += 1;
        let fetches = 1 + rng.below(5);
        for left in (0..fetches).rev() {
            let number = rng.below(files.len() as u64) as usize;
            let began = Instant::now();
            fetch(&mut stream, number, &files[number], left == 0)?;
            tally.requests += 1;
            tally.down_bytes += files[number].len() as u64;
            if number == 0 {
                tally.stall_max = tally.stall_max.max(began.elapsed());
            }
        }
        if stream.read(&mut [0])? > 0 {
            return Err(Wrong::Surplus);
        }
    }
    Ok(tally)
}

fn fetch(stream: &mut BufReader<TcpStream>, number: usize, right: &[u8], is_last: bool) -> Result<(), Wrong> {
    let connection = if is_last { "close" } else { "keep-alive" };
    let request = format!("GET /{number} HTTP/1.1\r\nHost: guest\r\nConnection: {connection}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    let mut length = None;
    let mut is_first = true;
    loop {
        line.clear();
        match stream.read_line(&mut line)? {
            0 => return Err(Wrong::Closed),
            _ if is_first && line != "HTTP/1.1 200 OK\r\n" => return Err(Wrong::Reply),
            _ if line == "\r\n" => break,
            _ => {}
        }
        is_first = false;
        if let Some(told) = line.strip_prefix("Content-Length: ") {
            length = told.trim_end().parse().ok();
        }
    }
    if length != Some(right.len()) {
        return Err(Wrong::Reply);
    }
    let mut body = vec![0; right.len()];
    stream.read_exact(&mut body)?;
    match body.iter().zip(right).position(|(is, should)| is != should) {
        Some(at) => Err(Wrong::Byte(at)),
        None => Ok(()),
    }
}
