//! [`Finding`]: what `doctor` reports, for people and for programs. Not here: inspecting.

/// The kind of finding, for programs. `docs/TROUBLESHOOTING.md` lists all of them; codes are added, never changed.
#[derive(serde::Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The output of a guest of a dead engine is cut off.
    GuestCutOff,
    /// An interface is cut off, and its owner cannot be learnt.
    OwnerUnknown,
    /// An interface is cut off, and nobody whose output has to wait is behind it.
    RedirectLeft,
    /// A guest may be suspended by a dead `remus -b`.
    RemusLeft,
    /// A standby domain of an engine that is gone.
    StandingLeft,
    /// A standby domain of an engine that is gone, which may be the only copy of its guest.
    StandingKept,
    /// The last commit of a guest that could not be started is in a file.
    ImageRescued,
    /// Xen's watchdog runs, and no engine sets it anew.
    WatchdogLeft,
    /// Something could not be inspected.
    Unlearnt,
}

/// Something that was found, and whether it was repaired.
#[derive(serde::Serialize, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) advice: String,
    pub(super) repaired: bool,
}

/// The finding that something could not be inspected: something may be left there.
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
            Code::WatchdogLeft,
            Code::Unlearnt,
        ];
        let text = include_str!("../../../../docs/TROUBLESHOOTING.md");
        let (_, list) = text.split_once("## What `doctor` finds").expect("a chapter of its own");
        for code in codes {
            let word = serde_json::to_value(code).unwrap();
            assert!(list.contains(&format!("\n| `{}` |", word.as_str().unwrap())), "{word}");
        }
    }
}
