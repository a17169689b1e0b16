//! redis, and clients that know each reply: every client has its own keys.

use crate::client::{HANG, Tally, Wrong};
use crate::place::{Place, Service};
use crate::world::Family;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use understudy_tests::drivers::rng::Rng;

/// Where it listens.
pub(crate) const PORT: u16 = 6379;

const VALUE_BYTES_MAX: u64 = 20_000;

pub(crate) fn start(place: &Place) -> Result<Service, String> {
    let words = "--bind * -::* --protected-mode no --save  --appendonly no --port 6379";
    place.start("redis-server", &words.split(' ').collect::<Vec<_>>(), Stdio::null())
}

/// One client, until it is told to end.
pub(crate) fn visit(
    number: u64,
    family: Family,
    mut rng: Rng,
    is_ending: &AtomicBool,
) -> Result<Tally, Wrong> {
    let mut client = Client::open(family)?;
    let (mut counter, mut list) = (0, Vec::new());
    let mut is_last = false;
    while !is_last {
        is_last = is_ending.load(Ordering::Acquire);
        let value = vec![b'a' + rng.below(26) as u8; 1 + rng.below(VALUE_BYTES_MAX) as usize];
        let key = |what: &str| format!("{what}-{number}").into_bytes();
        client.ask(&[b"SET", &key("value"), &value], b"+OK\r\n")?;
        client.ask(&[b"GET", &key("value")], &bulk(&value))?;
        counter += 1;
        client.ask(&[b"INCR", &key("counter")], format!(":{counter}\r\n").as_bytes())?;
        list.push(value[..value.len().min(40)].to_vec());
        client.ask(
            &[b"LPUSH", &key("list"), &list[list.len() - 1]],
            format!(":{}\r\n", list.len()).as_bytes(),
        )?;
        if list.len() > 1 && rng.chance(50) {
            let last = list.pop().unwrap_or_default();
            client.ask(&[b"LPOP", &key("list")], &bulk(&last))?;
        }
    }
    Ok(client.tally)
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

struct Client {
    stream: BufReader<TcpStream>,
    tally: Tally,
}

impl Client {
    fn open(family: Family) -> Result<Self, Wrong> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(family.guest(), PORT), HANG)?;
        stream.set_read_timeout(Some(HANG))?;
        stream.set_write_timeout(Some(HANG))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), tally: Tally { connections: 1, ..Tally::default() } })
    }

    fn ask(&mut self, words: &[&[u8]], right: &[u8]) -> Result<(), Wrong> {
        let began = Instant::now();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        words.iter().for_each(|word| request.extend(bulk(word)));
        self.stream.get_mut().write_all(&request)?;
        let mut reply = Vec::new();
        self.stream.read_until(b'\n', &mut reply)?;
        if reply.first() == Some(&b'$') {
            let more = right.len().saturating_sub(reply.len());
            (&mut self.stream).take(more as u64).read_to_end(&mut reply)?;
        }
        self.tally.requests += 1;
        self.tally.up_bytes += request.len() as u64;
        self.tally.down_bytes += reply.len() as u64;
        if request.len() < 100 && reply.len() < 100 {
            self.tally.stall_max = self.tally.stall_max.max(began.elapsed());
        }
        match reply {
            reply if reply == right => Ok(()),
            reply if reply.is_empty() => Err(Wrong::Closed),
            _ => Err(Wrong::Reply),
        }
    }
}
