//! The clients at work: one thread each, plugged into the switch like any host.
//!
//! ```text
//!   Crew (idle) ──start──► Traffic (running) ──finish──► Crew + one History per guest
//!                                                └ last: every key read once more, with nothing else open
//! ```

use super::client::{Client, Keys, WINDOW};
use super::error::DrillError;
use super::history::{Action, Baseline, ClientId, History, Key, Moment};
use super::network::{client_address, guest_address};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use understudy_lab::Mac;
use understudy_lab::wire::{Arp, ArpOp, Body, Frame};
use understudy_lab::{Uplink, UplinkError};

/// A client looks this often whether it must give up or stop, when nothing arrives.
const WAIT: Duration = Duration::from_millis(10);
/// A client whose window is full of unanswered requests asks once more this often: the first answer after a
/// failure is to one of these, so this is how finely service's return is seen.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// How long a finishing client waits for its last answers.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(500);
/// How long a final read may take, with all its attempts; then the guest does not serve.
const FINAL_READ_MAX: Duration = Duration::from_secs(10);

/// A client with its plug.
#[derive(Debug)]
struct Member {
    client: Client,
    uplink: Uplink,
    frame: Vec<u8>,
}

/// The clients of one guest between rounds.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
    window: usize,
    keys: Keys,
    baseline: Baseline,
}

/// The clients of one guest during a round.
#[derive(Debug)]
pub struct Traffic {
    window: usize,
    threads: Vec<JoinHandle<Result<Member, UplinkError>>>,
    stop: Arc<AtomicBool>,
    keys: Keys,
    baseline: Baseline,
}

impl Crew {
    /// Plugs the clients of guest `number` into the switch at `switch`.
    pub fn connect(switch: &Path, number: u16, clients: u16, seed: u64) -> Result<Self, DrillError> {
        let keys = Keys { first: ClientId(number * clients), clients };
        let connect = |id: ClientId| {
            let uplink = Uplink::connect(switch, &format!("client{}", id.0)).map_err(lost_switch)?;
            let client = Client::new(id, guest_address(number), keys, seed);
            let mut member = Member { client, uplink, frame: Vec::new() };
            member.announce().map_err(lost_switch)?;
            Ok(member)
        };
        let members = (0..clients).map(|n| connect(ClientId(keys.first.0 + n))).collect::<Result<_, _>>()?;
        Ok(Self { members, window: WINDOW, keys, baseline: Baseline::new() })
    }

    /// The same crew, each of whose clients keeps `window` requests open.
    pub fn with_window(self, window: usize) -> Self {
        Self { window, ..self }
    }

    /// Sets every key to 0, as often as it takes; not part of any history. A guest that is just being started
    /// answers late.
    pub fn prepare(&mut self, limit: Duration) -> Result<(), DrillError> {
        let deadline = Moment::now() + limit;
        let member = &mut self.members[0];
        for key in self.keys.all() {
            if !member.insist(key, Action::Set(0), deadline).map_err(lost_switch)? {
                let seconds = limit.as_secs();
                return Err(DrillError::WrongEnding(format!(
                    "A new guest did not answer within {seconds} s"
                )));
            }
        }
        member.client.end_round();
        Ok(())
    }

    /// Numbers of the clients.
    pub fn clients(&self) -> Vec<ClientId> {
        self.members.iter().map(|member| member.client.id()).collect()
    }

    /// Sets the clients to work.
    pub fn start(self) -> Result<Traffic, DrillError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(self.members.len());
        for mut member in self.members {
            let stop = stop.clone();
            let body = move || member.work(self.window, &stop).map(|()| member);
            let thread = thread::Builder::new().name("client".into()).spawn(body);
            threads.push(thread.map_err(DrillError::system("start a client's thread"))?);
        }
        Ok(Traffic { window: self.window, threads, stop, keys: self.keys, baseline: self.baseline })
    }
}

impl Traffic {
    /// Ends the work, reads every key once more, and hands over what the clients saw.
    pub fn finish(self) -> Result<(Crew, History), DrillError> {
        self.stop.store(true, Ordering::Release);
        let mut members = Vec::with_capacity(self.threads.len());
        for thread in self.threads {
            let member = thread.join().map_err(|_| {
                DrillError::WrongEnding("A client of the drill panicked; this is a fault of the drill".into())
            })?;
            members.push(member.map_err(lost_switch)?);
        }
        let deadline = Moment::now() + FINAL_READ_MAX;
        for key in self.keys.all() {
            if !members[0].insist(key, Action::Get, deadline).map_err(lost_switch)? {
                let seconds = FINAL_READ_MAX.as_secs();
                return Err(DrillError::WrongEnding(format!(
                    "The guest did not answer a last read of {key} within {seconds} s"
                )));
            }
        }
        let mut history = History { baseline: self.baseline, ..History::default() };
        for member in &mut members {
            let (operations, surplus) = member.client.end_round();
            history.absorb(operations, surplus);
        }
        let baseline = history.final_values();
        Ok((Crew { members, window: self.window, keys: self.keys, baseline }, history))
    }
}

impl Member {
    /// Tells the switch where it is, so that answers are not flooded to everyone.
    fn announce(&mut self) -> Result<(), UplinkError> {
        let own = client_address(self.client.id());
        let arp = Arp {
            op: ArpOp::Reply,
            sender_mac: own.mac,
            sender_ip: own.ip,
            target_mac: own.mac,
            target_ip: own.ip,
        };
        Frame { dst: Mac::BROADCAST, src: own.mac, body: Body::Arp(arp) }.write(&mut self.frame);
        self.uplink.write_frame(&self.frame);
        self.uplink.flush().map(drop)
    }

    /// Asks as much as the window allows until told to stop; then waits for the last answers.
    fn work(&mut self, window: usize, stop: &AtomicBool) -> Result<(), UplinkError> {
        let mut asked = Moment::now();
        while !stop.load(Ordering::Acquire) {
            let now = Moment::now();
            self.client.give_up(now);
            while self.client.open() < window || now.since(asked) >= PROBE_EVERY {
                asked = now;
                self.client.ask_anything(now, &mut self.frame);
                self.uplink.write_frame(&self.frame);
            }
            self.uplink.flush()?;
            self.hear(WAIT)?;
        }
        let deadline = Moment::now() + LAST_ANSWERS_MAX;
        while self.client.open() > 0 && Moment::now() < deadline {
            self.hear(WAIT)?;
        }
        self.client.give_up(deadline + LAST_ANSWERS_MAX);
        Ok(())
    }

    /// Asks the same until it is answered (`true`) or `deadline` has passed. Only for what may be done twice: of a guest that
    /// takes longer than a client waits, the answer to an earlier attempt counts.
    fn insist(&mut self, key: Key, action: Action, deadline: Moment) -> Result<bool, UplinkError> {
        let attempts = self.client.made();
        while Moment::now() < deadline {
            self.client.ask(key, action, Moment::now(), &mut self.frame);
            self.uplink.write_frame(&self.frame);
            self.uplink.flush()?;
            while self.client.open() > 0 {
                self.hear(WAIT)?;
                self.client.give_up(Moment::now());
            }
            if self.client.has_answer_since(attempts) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes in what arrives within `wait`.
    fn hear(&mut self, wait: Duration) -> Result<(), UplinkError> {
        self.uplink.wait(wait)?;
        while let Some(frame) = self.uplink.next_frame()? {
            self.client.hear(frame, Moment::now());
        }
        Ok(())
    }
}

fn lost_switch(error: UplinkError) -> DrillError {
    DrillError::System {
        attempt: "reach the drill's own switch".into(),
        source: std::io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Expectation, Violation, check};
    use super::super::network::{answered_request, sending_guest};
    use super::super::sightings::{HostId, Sightings};
    use super::*;
    use crossbeam::channel::{Receiver, Sender, unbounded};
    use parking_lot::Mutex;
    use understudy_lab::{GuestConfig, LabGuest, Observer, Port, Sighting, Switch};

    const CLIENTS: u16 = 3;

    /// A guest on the switch without any engine: its frames leave as they come.
    struct BareGuest {
        guest: LabGuest,
        unplug: Arc<AtomicBool>,
        plug: JoinHandle<()>,
    }

    struct Outgoing(Sender<Vec<u8>>);

    impl Port for Outgoing {
        fn transmit(&self, frame: &[u8]) {
            let _ = self.0.send(frame.to_vec());
        }
    }

    impl BareGuest {
        fn start(switch: &Path, host: &str) -> Self {
            let address = guest_address(0);
            let mut config = GuestConfig::new("g1", address.mac, address.ip);
            config.memory_bytes = 16 << 20;
            let (sender, outgoing) = unbounded();
            let guest = LabGuest::start(&config, Arc::new(Outgoing(sender))).unwrap();
            let uplink = Uplink::connect(switch, host).unwrap();
            let (unplug, plugged) = (Arc::new(AtomicBool::new(false)), guest.clone());
            let until = unplug.clone();
            let plug = thread::spawn(move || carry(uplink, &plugged, &outgoing, &until));
            Self { guest, unplug, plug }
        }

        fn end(self) {
            self.guest.stop();
            self.unplug.store(true, Ordering::Release);
            self.plug.join().unwrap();
        }
    }

    fn carry(mut uplink: Uplink, guest: &LabGuest, outgoing: &Receiver<Vec<u8>>, until: &AtomicBool) {
        while !until.load(Ordering::Acquire) {
            uplink.wait(Duration::from_millis(1)).unwrap();
            while let Some(frame) = uplink.next_frame().unwrap() {
                guest.inject(frame);
            }
            outgoing.try_iter().for_each(|frame| {
                uplink.write_frame(&frame);
            });
            uplink.flush().unwrap();
        }
    }

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Sightings>>);

    impl Observer for Recorder {
        fn seen(&mut self, sighting: &Sighting<'_>) {
            let host = if sighting.name == "A" { HostId::A } else { HostId::B };
            if sending_guest(sighting.frame).is_some() {
                self.0.lock().note(host, Moment::now(), answered_request(sighting.frame));
            }
        }
    }

    /// Runs clients against a guest that `then` may do something to in the middle, and judges.
    fn judged(
        then: impl FnOnce(BareGuest, &Path) -> BareGuest,
        owners: Vec<HostId>,
    ) -> (u64, Vec<Violation>) {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::default();
        let switch =
            Switch::start(&directory.path().join("switch"), Some(Box::new(recorder.clone()))).unwrap();
        let guest = BareGuest::start(switch.path(), "A");
        let mut crew = Crew::connect(switch.path(), 0, CLIENTS, 1).unwrap();
        crew.prepare(Duration::from_secs(20)).unwrap();
        let clients = crew.clients();
        let traffic = crew.start().unwrap();
        thread::sleep(Duration::from_millis(100));
        let middle = Moment::now();
        let guest = then(guest, switch.path());
        thread::sleep(Duration::from_millis(300));
        let (_, history) = traffic.finish().unwrap();
        guest.end();
        let sightings = recorder.0.lock().end_round();
        let expectation =
            Expectation { owners, owed_before: middle, repeats_before: None, clients, resumed: middle };
        (sightings.frames(), check(&history, &sightings, &expectation))
    }

    #[test]
    fn clients_of_a_healthy_guest_see_nothing_wrong() {
        let (frames, found) = judged(|guest, _| guest, vec![HostId::A]);
        assert_eq!(found, []);
        assert!(frames > 100, "only {frames} frames; the clients hardly worked");
    }

    #[test]
    fn a_guest_that_starts_over_on_another_host_is_caught() {
        let start_over = |guest: BareGuest, switch: &Path| {
            guest.end();
            BareGuest::start(switch, "B")
        };
        let (_, found) = judged(start_over, vec![HostId::A, HostId::B]);
        assert!(found.iter().any(|violation| matches!(violation, Violation::Nonsense { .. })), "{found:?}");
        let (_, found) = judged(start_over, vec![HostId::A]);
        let is_stray =
            |violation: &Violation| matches!(violation, Violation::StrayOwner { host: HostId::B, .. });
        assert!(found.iter().any(is_stray), "{found:?}");
    }
}
