//! The engine: sessions that decide, a driver that does, a link between hosts, and the command line.
//!
//! * [`connection`] a link on a socket: the link itself is a crate beside this one, and so are the sessions
//! * [`blackhole`] checkpoints that go nowhere: what protecting a guest would cost it
//! * [`child`] processes of this program that end with the one that started them
//! * [`cli`] the `understudy` command
//! * [`config`] what a node is told: its file, its flags, its defaults
//! * [`console`] standard output and standard error that can neither end nor stop a process
//! * [`control`] the local control socket
//! * [`drill`] rehearsed failures of real processes, judged by what clients saw
//! * [`etcd`] etcd as the witness
//! * [`guest`] the threads of a guest: capture, encode, receive
//! * [`memory`] what this process can still have
//! * [`descriptors`] which descriptors are kept back from strangers
//! * [`metrics`] what is measured, for Prometheus and for `status`
//! * [`node`] the event loop that performs what sessions decide
//! * [`output_file`] where results are written, so that no file is lost that is not ours
//! * [`preflight`] what stands against protecting a guest of real Xen
//! * [`replay`] a recorded guest through the whole engine
//! * [`request_server`] one request for each connection: under the control socket and the metrics page
//! * [`signals`] a clean shutdown on SIGINT and SIGTERM, and what SIGHUP means
//! * [`trust`] certificates: this end's, and whose others are
//! * [`witness`] the third party as a process

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

pub mod blackhole;
pub mod child;
pub mod cli;
pub mod config;
pub mod connection;
pub mod console;
pub mod control;
pub mod descriptors;
pub mod drill;
pub mod etcd;
pub mod guest;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod output_file;
pub mod preflight;
pub mod replay;
pub mod request_server;
pub mod signals;
pub mod trust;
pub mod witness;
