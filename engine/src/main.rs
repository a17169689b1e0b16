//! The `understudy` command: everything is in [`understudy::cli`].

// The standard macros panic when nobody reads their output, and block while somebody reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    understudy::cli::main()
}
