//! What `remus` refuses of a command line that `xl remus` takes, and why.

/// Why `remus` does not do what `xl remus` would. The text says what to do instead.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemusError {
    /// Stock `xl remus` requires the same.
    #[error("-{0} makes the guest less safe; xl remus and understudy do it only with -F")]
    NeedsUnsafe(char),
    /// Stock `xl remus` requires the same.
    #[error("-p is about COLO's proxy; give -c with it")]
    ProxyWithoutColo,
    /// Stock `xl remus` requires the same.
    #[error("COLO makes a checkpoint when outputs differ, so -c goes with none of -i, -b, -n and -d")]
    ColoConflict,
    /// It is not built.
    #[error(
        "COLO (-c) is not there yet: understudy reads and writes its streams, and runs no guest by it. Leave -c and -p \
         out to have the guest protected by checkpoints"
    )]
    Colo,
}
