//! The engine: drivers of the sessions, connections between hosts, the threads of guests, and the command line.
//!
//! * [`connection`] a link on a socket; links and sessions themselves are crates beside this one
//! * [`blackhole`] checkpoints that go nowhere, to measure what protecting a guest would cost it
//! * [`child`] child processes of this program, which end with their parent
//! * [`cli`] the `understudy` command
//! * [`config`] a node's settings: its file, its flags, its defaults
//! * [`console`] standard output and standard error, which can neither end nor block a process
//! * [`control`] the local control socket
//! * [`drill`] rehearsed failures of real processes, judged by what clients see
//! * [`etcd`] etcd as the witness
//! * [`guest`] the threads of a guest: capture, encode, receive
//! * [`memory`] how much memory this process can still get
//! * [`descriptors`] keeps some descriptors free for known peers
//! * [`metrics`] what is measured, for Prometheus and for `status`
//! * [`names`] names of nodes and guests, checked
//! * [`node`] the event loop that performs what sessions decide
//! * [`output_file`] writes results to files, and overwrites no file but its own
//! * [`preflight`] obstacles to protecting a Xen guest
//! * [`replay`] a recorded guest through the whole engine
//! * [`request_server`] a server for one request per connection: the control socket and the metrics page use it
//! * [`signals`] a clean shutdown on SIGINT and SIGTERM, and certificates read again on SIGHUP
//! * [`trust`] certificates: this node's own, and those of its peers
//! * [`witness`] the third party as a process

// The standard macros panic when nobody reads their output, and block while somebody reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "a field that its name and type explain needs no comment; this is a program's library"
)]

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
pub mod names;
pub mod node;
pub mod output_file;
pub mod preflight;
pub mod replay;
pub mod request_server;
pub mod signals;
pub mod supervisor;
pub mod trust;
pub mod witness;
