//! The `understudy` command: everything is in [`understudy::cli`].

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    understudy::cli::main()
}
