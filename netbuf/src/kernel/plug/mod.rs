//! The plug: output is redirected to an ifb whose root qdisc is a plug, and the kernel gives it back itself.
//!
//! ```text
//!   vif (ingress) ─redirect, every frame─► ifb us-vif: plug ─ RELEASE ─► vif receives it again
//!                        cut: BUFFER of all interfaces in one batch; release: RELEASE_ONE of all in one batch
//! ```
//!
//! No frame goes through user space, and what is held outlives this process. One closed epoch is all that the
//! kernel remembers: [`schedule`] says how more can be in flight, and what that costs.

mod schedule;

use super::KernelError;
use super::breach::Breach;
use super::commit::{KernelStats, OutputCommit, Start};
use super::netlink::filter::{Matcher, Target};
use super::netlink::qdisc::{self, Plug, Qdisc};
use super::netlink::wire::Request;
use super::netlink::{Connection, link};
use super::owner::Owner;
use super::redirect::{self, Device, Redirect, Way, find_link};
use super::watch::{Holder, Notice, Watch, Watched};
use crate::Limits;
use nix::errno::Errno;
use parking_lot::Mutex;
use schedule::{Command, Schedule};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;

/// How long the first cut waits for what passed to have left, milliseconds: the guest is suspended.
const RUN_DRY_MS_MAX: u64 = 10;
/// Frames that the ifb takes over from its plug at a time.
const IFB_QUEUE_FRAMES: u32 = 1000;

/// Output of a guest's interfaces, held by plug qdiscs.
#[derive(Debug)]
pub struct PlugOutput {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    nics: Vec<Nic>,
    watch: Watch,
    /// What may have left since everything could.
    leak: Option<(String, Breach)>,
    limits: Limits,
    owner: Owner,
}

#[derive(Debug)]
struct Nic {
    vif: Device,
    ifb: Device,
    schedule: Schedule,
}

impl Nic {
    fn watched(&self) -> Watched {
        let holder = Holder { device: self.ifb.clone(), is_plug: true, mtu_bytes: None };
        Watched { vif: self.vif.clone(), holder: Some(holder) }
    }
}

impl PlugOutput {
    /// Takes hold of the output of `vifs`, whose open epoch is `open`, in the network namespace of the calling
    /// thread. Of `limits` each plug keeps the bytes; it does not count frames.
    ///
    /// What a dead process left is removed first: its frames, of which nobody knows the epochs, are thrown
    /// away. Needs CAP_NET_ADMIN and the modules ifb, sch_plug, sch_ingress, act_mirred, and cls_matchall or
    /// cls_u32.
    pub fn attach(vifs: &[&str], open: Epoch, limits: Limits, start: Start) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let owner = Owner::this_process()?;
        let mut nics = Vec::new();
        for vif in vifs {
            let vif = Device::find(&mut connection, vif)?;
            let ifb = create_ifb(&mut connection, &vif.intermediate_name(), &owner)?;
            let schedule = match start {
                Start::Passing => Schedule::passing(open),
                Start::Holding => Schedule::holding(open),
            };
            nics.push(Nic { vif, ifb, schedule });
        }
        let watch = Watch::open()?;
        let mut inner = Inner { connection, nics, watch, leak: None, limits, owner };
        let attached = inner.plug_in(start);
        // That the plugs are in place and up is told as well.
        inner.watch.forget(inner.connection.port());
        let attached = attached.and_then(|()| inner.redirect());
        if attached.is_err() {
            // The vifs first: their output must not be sent to a device that is gone.
            inner.take_out()?;
        }
        attached.map(|()| Self { inner: Mutex::new(inner) })
    }

    /// Gives the interfaces' output its direct way again. Every interface must pass, or be gone.
    pub fn detach(self) -> Result<(), KernelError> {
        let mut inner = self.inner.into_inner();
        let Inner { connection, nics, .. } = &mut inner;
        if nics.iter().any(|nic| !nic.schedule.is_passing() && nic.vif.check(connection).is_ok())
            || !inner.run_dry()?
        {
            return Err(KernelError::StillHolding);
        }
        inner.take_out()
    }
}

/// Creates the ifb `name`, in place of one that a dead process left.
fn create_ifb(connection: &mut Connection, name: &str, owner: &Owner) -> Result<Device, KernelError> {
    if let Some(found) = find_link(connection, name)? {
        let left_by = Owner::from_alias(&found.alias).filter(|_| found.kind == "ifb");
        let left_by = left_by.ok_or_else(|| KernelError::Foreign { name: name.into() })?;
        if left_by.runs() {
            return Err(KernelError::InUse { name: name.into(), pid: left_by.pid });
        }
        // Redirects to a device that is gone drop: nothing leaks until they are replaced.
        connection.all(&mut [link::delete(found.index, name)], |_| false)?;
    }
    connection.all(&mut [link::create_ifb(name)], |_| false)?;
    let ifb = Device::find(connection, name)?;
    let marks = link::Change {
        queue_frames: Some(IFB_QUEUE_FRAMES),
        alias: Some(&owner.alias()),
        ..Default::default()
    };
    connection.all(&mut [link::change(ifb.index, name, marks)], |_| false)?;
    Ok(ifb)
}

impl Inner {
    /// Gives every ifb its plug, then brings it up: an ifb that is up without one would let frames through.
    fn plug_in(&mut self, start: Start) -> Result<(), KernelError> {
        let limit_bytes = u32::try_from(self.limits.bytes_max).unwrap_or(u32::MAX);
        let mut requests = Vec::new();
        for Nic { ifb, .. } in &self.nics {
            requests.push(qdisc::add_plug(ifb.index, &ifb.name, limit_bytes));
            if start == Start::Passing {
                requests.push(qdisc::tell_plug(ifb.index, &ifb.name, Plug::ReleaseIndefinite));
            }
            let up = link::Change { up: Some(true), ..Default::default() };
            requests.push(link::change(ifb.index, &ifb.name, up));
        }
        Ok(self.connection.all(&mut requests, |_| false)?)
    }

    fn redirect(&mut self) -> Result<(), KernelError> {
        let by = |matcher| -> Vec<Redirect> {
            let redirect = |nic: &Nic| Redirect {
                from: nic.vif.clone(),
                way: Way::To(matcher, Target::TransmitOn(nic.ifb.index)),
            };
            self.nics.iter().map(redirect).collect()
        };
        let (by_matchall, by_u32) = (by(Matcher::Everything), by(Matcher::EverythingByU32));
        match redirect::install(&mut self.connection, &by_matchall, &self.owner) {
            Err(KernelError::Unsupported(_)) => redirect::install(&mut self.connection, &by_u32, &self.owner),
            other => other,
        }
    }

    /// Takes in what others have changed. After a change that let frames by, or may have, nothing is held for sure until
    /// everything may leave; and what the change was is for a person: a plug that another program has told something does
    /// not say what it lets out.
    fn look(&mut self) -> Result<(), KernelError> {
        let watched: Vec<_> = self.nics.iter().map(Nic::watched).collect();
        let Self { watch, leak, connection, .. } = self;
        watch.look(connection.port(), &watched, |place, notice| {
            if let Notice::Breach(breach) = notice {
                leak.get_or_insert((watched[place].vif.name.clone(), breach));
            }
        });
        match &self.leak {
            Some((name, breach)) => Err(KernelError::NotHeld { name: name.clone(), breach: *breach }),
            None => Ok(()),
        }
    }

    /// Puts the redirects and the plugs back that others have taken away.
    fn put_back(&mut self) -> Result<(), KernelError> {
        for nic in &self.nics {
            let up = link::Change { up: Some(true), ..Default::default() };
            let (index, name) = (nic.ifb.index, &nic.ifb.name);
            let limit_bytes = u32::try_from(self.limits.bytes_max).unwrap_or(u32::MAX);
            let plug = qdisc::add_plug(index, name, limit_bytes);
            // It is there, as a rule.
            self.connection.all(&mut [plug], |error| error.is(Errno::EEXIST))?;
            let pass = qdisc::tell_plug(index, name, Plug::ReleaseIndefinite);
            self.connection.all(&mut [pass, link::change(index, name, up)], |_| false)?;
        }
        self.redirect()
    }

    fn take_out(&mut self) -> Result<(), KernelError> {
        let vifs: Vec<_> = self.nics.iter().map(|nic| nic.vif.clone()).collect();
        redirect::remove(&mut self.connection, &vifs, &self.owner)?;
        let mut deletes: Vec<_> =
            self.nics.iter().map(|nic| link::delete(nic.ifb.index, &nic.ifb.name)).collect();
        Ok(self.connection.all(&mut deletes, |error| error.is(Errno::ENODEV))?)
    }

    /// Does one step of all schedules in one batch. A schedule moves on only if its command was done.
    fn step(
        &mut self,
        step: impl Fn(Schedule) -> (Option<Command>, Schedule),
        failed: impl Fn(Schedule) -> Schedule,
    ) -> Result<(), KernelError> {
        let mut requests: Vec<Request> = Vec::new();
        let mut told = Vec::new();
        for (index, nic) in self.nics.iter_mut().enumerate() {
            let (command, next) = step(nic.schedule);
            match command {
                None => nic.schedule = next,
                Some(command) => {
                    requests.push(qdisc::tell_plug(nic.ifb.index, &nic.ifb.name, command.into()));
                    told.push((index, next));
                }
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        let verdicts = self.connection.batch(&mut requests)?;
        let mut result = Ok(());
        for ((index, next), verdict) in told.into_iter().zip(verdicts) {
            let nic = &mut self.nics[index];
            nic.schedule = if verdict.is_ok() { next } else { failed(nic.schedule) };
            if let Err(error) = verdict {
                let gone = || KernelError::Gone { name: nic.ifb.name.clone() };
                result = result.and(Err(if error.is(Errno::ENODEV) { gone() } else { error.into() }));
            }
        }
        result
    }

    /// Waits for plugs that pass to have passed all; `false` if some did not within the time.
    fn run_dry(&mut self) -> Result<bool, KernelError> {
        let deadline = Instant::now() + Duration::from_millis(RUN_DRY_MS_MAX);
        loop {
            let waiting = self
                .plugs()?
                .iter()
                .any(|(nic, plug)| self.nics[*nic].schedule.is_passing() && plug.held_frames > 0);
            if !waiting || Instant::now() > deadline {
                return Ok(!waiting);
            }
            std::thread::yield_now();
        }
    }

    /// Each interface's plug, by the interface's place in `nics`.
    fn plugs(&mut self) -> Result<Vec<(usize, Qdisc)>, KernelError> {
        let found = self.connection.ask(qdisc::dump(), qdisc::decode)?;
        let place = |qdisc: &Qdisc| self.nics.iter().position(|nic| nic.ifb.index == qdisc.index);
        let roots = found.into_iter().filter(Qdisc::is_root);
        Ok(roots.filter_map(|qdisc| Some((place(&qdisc)?, qdisc))).collect())
    }
}

impl From<Command> for Plug {
    fn from(command: Command) -> Self {
        match command {
            Command::Buffer => Self::Buffer,
            Command::ReleaseOne => Self::ReleaseOne,
            Command::ReleaseIndefinite => Self::ReleaseIndefinite,
        }
    }
}

impl OutputCommit for PlugOutput {
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        let mut inner = self.inner.lock();
        inner.look()?;
        // Frames that still wait to pass are not counted: behind a plug they would push as many others back.
        if inner.nics.iter().any(|nic| nic.schedule.is_passing()) {
            inner.run_dry()?;
        }
        inner.step(|schedule| schedule.cut(epoch), |schedule| schedule.cut_failed(epoch))?;
        inner.look()
    }

    fn release(&self, through: Epoch) -> Result<(), KernelError> {
        self.inner.lock().step(|schedule| schedule.release(through), |schedule| schedule)
    }

    fn pass(&self) -> Result<(), KernelError> {
        let mut inner = self.inner.lock();
        if inner.look().is_err() {
            inner.put_back()?;
            inner.leak = None;
        }
        inner.step(Schedule::pass, |schedule| schedule)
    }

    /// An ifb that is down has thrown its queue away and drops what is redirected to it.
    fn fence(&self) -> Result<(), KernelError> {
        let mut inner = self.inner.lock();
        let down = link::Change { up: Some(false), ..Default::default() };
        let mut requests: Vec<_> =
            inner.nics.iter().map(|nic| link::change(nic.ifb.index, &nic.ifb.name, down)).collect();
        for nic in &mut inner.nics {
            nic.schedule = nic.schedule.fence();
        }
        Ok(inner.connection.all(&mut requests, |error| error.is(Errno::ENODEV))?)
    }

    fn take_pressure(&self) -> bool {
        let mut inner = self.inner.lock();
        let limit_bytes = inner.limits.bytes_max * usize::from(inner.limits.pressure_percent) / 100;
        inner.plugs().is_ok_and(|plugs| plugs.iter().any(|(_, plug)| plug.held_bytes as usize > limit_bytes))
    }

    fn stats(&self) -> Result<KernelStats, KernelError> {
        let mut inner = self.inner.lock();
        let mut sum = KernelStats::default();
        for (_, plug) in inner.plugs()? {
            sum.queue.held_bytes += plug.held_bytes as usize;
            sum.queue.held_frames += plug.held_frames as usize;
            sum.queue.dropped_at_limit += u64::from(plug.dropped);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests;
