//! Names of nodes and guests: short and plain, because they travel in frames, metrics labels and file names.

/// The most bytes of a name.
pub const NAME_BYTES_MAX: usize = 64;

/// A name that cannot be used.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "{0:?} is not a usable name; use 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.', and no '-' or '.' at the \
     beginning"
)]
pub struct NameError(pub String);

/// Checks a name that is to be used from now on: one that begins with '-' would be taken for a flag by the commands that it
/// is given to.
pub fn check_new_name(name: &str) -> Result<(), NameError> {
    check_name(name)?;
    if name.starts_with('-') { Err(NameError(name.to_owned())) } else { Ok(()) }
}

/// Checks a name that is in use somewhere.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let usable =
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.');
    if usable { Ok(()) } else { Err(NameError(name.to_owned())) }
}
