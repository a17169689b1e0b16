//! What `doctor` has to say of one thing, to people and to programs. Not here: what is looked at.

/// What kind of thing was found, for programs. `docs/OPERATIONS.md` lists all of them; they are added, never changed.
#[derive(serde::Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The output of a guest of a dead engine is cut off.
    GuestCutOff,
    /// An interface is cut off, and whose it is cannot be learnt.
    OwnerUnknown,
    /// An interface is cut off, and nobody is behind it whose output has to wait.
    RedirectLeft,
    /// A guest may be suspended by `remus -b`, which is gone.
    RemusLeft,
    /// A domain stands by for an engine that is gone.
    StandingLeft,
    /// A domain that stood by for an engine that is gone may be the only copy of its guest.
    StandingKept,
    /// The last commit of a guest that could not be started is in a file.
    ImageRescued,
    /// Something could not be looked at.
    Unlearnt,
}

/// Something that was found, and what became of it.
#[derive(serde::Serialize, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) advice: String,
    pub(super) repaired: bool,
}

/// What could not be looked at is a finding: something may be left there.
pub(super) fn unseen(what: &str, error: impl std::fmt::Display) -> Finding {
    let what = format!("{what} cannot be looked at");
    Finding { code: Code::Unlearnt, what, advice: error.to_string(), repaired: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_list_every_code() {
        let codes = [
            Code::GuestCutOff,
            Code::OwnerUnknown,
            Code::RedirectLeft,
            Code::RemusLeft,
            Code::StandingLeft,
            Code::StandingKept,
            Code::ImageRescued,
            Code::Unlearnt,
        ];
        let text = include_str!("../../../../docs/OPERATIONS.md");
        let (_, list) = text.split_once("## What `doctor` finds").expect("a chapter of its own");
        for code in codes {
            let word = serde_json::to_value(code).unwrap();
            assert!(list.contains(&format!("\n| `{}` |", word.as_str().unwrap())), "{word}");
        }
    }
}
