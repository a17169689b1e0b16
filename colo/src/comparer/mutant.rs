//! Comparers that are wrong on purpose, for the tests that must notice. Without the feature `mutants` there are none.

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "mutants"), allow(dead_code, unreachable_pub))]
pub enum Mutant {
    /// Frames leave whatever the copy has received.
    AckRuleOff,
    /// The copy's frames match whatever its base.
    AnyBase,
    /// Nobody notices that the copy is silent.
    TimeoutOff,
    /// What is as long is the same.
    LengthOnly,
    /// What a later frame has overtaken leaves with its own clock.
    OldClocks,
    /// The end of a stream is the same as any byte.
    EndIgnored,
}

/// Which of the rules holds: all but at most one.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules(Option<Mutant>);

impl Rules {
    #[cfg(feature = "mutants")]
    pub(super) fn without(mutant: Mutant) -> Self {
        Self(Some(mutant))
    }

    pub(super) fn lack(self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && self.0 == Some(mutant)
    }
}
