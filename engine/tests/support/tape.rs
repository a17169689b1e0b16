//! Captures of a small service over TCP, written frame by frame.

use etherparse::PacketBuilder;
pub(crate) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What a run of the guest had that another has otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The guest's number and clock.
    pub(crate) guest_sequence: u32,
    pub(crate) guest_clock: u32,
    pub(crate) client_port: u16,
    pub(crate) client_sequence: u32,
    /// Microseconds of the capture's clock.
    pub(crate) begins_at: u64,
    /// Microseconds from a request to its answer.
    pub(crate) takes: u64,
}

pub(crate) const PRIMARY: Run = Run {
    guest_sequence: 1000,
    guest_clock: 77,
    client_port: 40_001,
    client_sequence: 500,
    begins_at: 1_700_000_000_000_000,
    takes: 200,
};

/// The twin that a mirror fed: of one client.
pub(crate) const TWIN: Run =
    Run { guest_sequence: u32::MAX - 3, guest_clock: 999_000, takes: 900, ..PRIMARY };

/// A guest that had its own client at another time.
pub(crate) const LATER: Run =
    Run { client_port: 51_777, client_sequence: 4_000_000_000, begins_at: 1_700_000_900_000_000, ..TWIN };

/// A capture that is being made.
pub(crate) struct Tape {
    pub(crate) file: Vec<u8>,
    pub(crate) now: u64,
}

impl Tape {
    pub(crate) fn new(begins_at: u64) -> Self {
        let words: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
        Self { file: words.iter().flat_map(|word| word.to_le_bytes()).collect(), now: begins_at }
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) {
        self.cut_frame(frame, frame.len());
    }

    pub(crate) fn cut_frame(&mut self, frame: &[u8], kept: usize) {
        let seconds = (self.now / 1_000_000) as u32;
        let words = [seconds, (self.now % 1_000_000) as u32, kept as u32, frame.len() as u32];
        self.file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.file.extend(&frame[..kept]);
    }
}

/// A TCP connection, recorded at the guest.
pub(crate) struct Connection {
    pub(crate) run: Run,
    pub(crate) port: u16,
    pub(crate) from_guest: u32,
    pub(crate) from_client: u32,
}

impl Connection {
    pub(crate) fn guest_frame(&self, tape: &Tape, flags: &str, payload: &[u8]) -> Vec<u8> {
        let clock = self.run.guest_clock.wrapping_add((tape.now / 1000) as u32);
        let options = [&[1, 1, 8, 10][..], &clock.to_be_bytes(), &[0, 0, 0, 9]].concat();
        let packet = PacketBuilder::ethernet2(GUEST_MAC, CLIENT_MAC).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let tcp = packet.tcp(80, self.port, self.from_guest, 500).ack(self.from_client);
        let tcp = match flags {
            "syn" => tcp.syn(),
            "fin" => tcp.fin(),
            _ => tcp,
        };
        let mut frame = Vec::new();
        tcp.options_raw(&options).unwrap().write(&mut frame, payload).unwrap();
        frame
    }

    pub(crate) fn client_frame(&self, flags: &str, payload: &[u8]) -> Vec<u8> {
        let packet = PacketBuilder::ethernet2(CLIENT_MAC, GUEST_MAC).ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64);
        let tcp = packet.tcp(self.port, 80, self.from_client, 500);
        let tcp = match flags {
            "syn" => tcp.syn(),
            "fin" => tcp.fin().ack(self.from_guest),
            _ => tcp.ack(self.from_guest),
        };
        let mut frame = Vec::new();
        tcp.write(&mut frame, payload).unwrap();
        frame
    }

    pub(crate) fn open(tape: &mut Tape, run: Run, number: u16) -> Self {
        let mut it = Self {
            run,
            port: run.client_port + number,
            from_guest: run.guest_sequence,
            from_client: run.client_sequence,
        };
        tape.frame(&it.client_frame("syn", b""));
        it.from_client = it.from_client.wrapping_add(1);
        tape.now += run.takes;
        tape.frame(&it.guest_frame(tape, "syn", b""));
        it.from_guest = it.from_guest.wrapping_add(1);
        tape.now += 50;
        tape.frame(&it.client_frame("", b""));
        it
    }

    pub(crate) fn asked(&mut self, tape: &mut Tape, request: &[u8]) {
        tape.now += 100;
        tape.frame(&self.client_frame("", request));
        self.from_client = self.from_client.wrapping_add(request.len() as u32);
        tape.now += self.run.takes;
    }

    /// A request, and its answer in segments of this many bytes.
    pub(crate) fn exchange(&mut self, tape: &mut Tape, request: &[u8], answer: &[u8], segment_bytes: usize) {
        self.asked(tape, request);
        for part in answer.chunks(segment_bytes) {
            tape.frame(&self.guest_frame(tape, "", part));
            self.from_guest = self.from_guest.wrapping_add(part.len() as u32);
        }
        tape.now += 60;
        tape.frame(&self.client_frame("", b""));
    }

    pub(crate) fn close(mut self, tape: &mut Tape) {
        tape.now += 70;
        tape.frame(&self.client_frame("fin", b""));
        self.from_client = self.from_client.wrapping_add(1);
        tape.now += self.run.takes;
        tape.frame(&self.guest_frame(tape, "fin", b""));
        tape.now += 100_000;
    }
}

/// Connections one after the other, each with these answers to as many requests.
pub(crate) fn service(run: Run, connections: u16, answers: &[&[u8]], segment_bytes: usize) -> Tape {
    let mut tape = Tape::new(run.begins_at);
    for number in 0..connections {
        let mut connection = Connection::open(&mut tape, run, number);
        for answer in answers {
            connection.exchange(&mut tape, b"GET /index.html\r\n", answer, segment_bytes);
        }
        connection.close(&mut tape);
    }
    tape
}
