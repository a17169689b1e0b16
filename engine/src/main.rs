//! The `understudy` command: everything is in [`understudy::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    understudy::cli::main()
}
