//! What runs in both guests, and who visits it.

use crate::client::{Client, HABITS, Tally, Wrong};
use crate::place::{Place, Service, own_program};
use crate::unmodified::{nginx, redis};
use crate::world::Family;
use clap::ValueEnum;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use understudy_tests::drivers::rng::Rng;

/// What runs in both guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Guest {
    /// The service of this test.
    Own,
    Redis,
    Nginx,
}

/// A client: what it is called, and what it does until it is told to end.
pub(crate) type Visitor = (String, Box<dyn FnOnce() -> Result<Tally, Wrong> + Send>);

const REDIS_CLIENTS: u64 = 6;
const NGINX_CLIENTS: u64 = 4;

impl Guest {
    /// Where it listens.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Own => crate::service::PORT,
            Self::Redis => redis::PORT,
            Self::Nginx => nginx::PORT,
        }
    }

    /// Whether two of it, in the same state and with the same input, may say something else: the second, in a date.
    pub(crate) fn may_differ(self) -> bool {
        self == Self::Nginx
    }

    /// Starts it in a guest; `directory` is for that guest alone, and does not exist yet.
    pub(crate) fn start(self, place: &Place, directory: &Path) -> Result<Service, String> {
        match self {
            Self::Own => place.start(&own_program()?, &["serve"], Stdio::null()),
            Self::Redis => redis::start(place),
            Self::Nginx => nginx::start(place, directory),
        }
    }

    /// Its clients.
    pub(crate) fn visitors(self, family: Family, rng: &mut Rng, is_ending: &Arc<AtomicBool>) -> Vec<Visitor> {
        let count = match self {
            Self::Own => HABITS.len() as u64,
            Self::Redis => REDIS_CLIENTS,
            Self::Nginx => NGINX_CLIENTS,
        };
        (0..count)
            .map(|number| {
                let (rng, is_ending) = (Rng::new(rng.bits()), is_ending.clone());
                let habit = HABITS[number as usize % HABITS.len()];
                match self {
                    Self::Own => {
                        let client = Client { habit, family, rng, is_ending };
                        (format!("{habit:?}"), Box::new(move || client.run()) as Box<_>)
                    }
                    Self::Redis => (
                        format!("redis client {number}"),
                        Box::new(move || redis::visit(number, family, rng, &is_ending)) as Box<_>,
                    ),
                    Self::Nginx => (
                        format!("nginx client {number}"),
                        Box::new(move || nginx::visit(family, rng, &is_ending)) as Box<_>,
                    ),
                }
            })
            .collect()
    }
}
