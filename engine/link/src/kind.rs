//! The kinds of frames. A kind's number, the version that brought it, whom it is addressed to and what it is called stand
//! here and nowhere else; `docs/LINK.md` draws the bodies, and a test compares it with this table.
//!
//! 0 is not a kind, so that zeroed memory is never a frame. A number is never reused.

/// What a frame is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Conversation {
    /// The link itself: its guest is 0.
    Link,
    /// A guest, by its number on this connection.
    Guest,
    /// The witness, which knows guests by name: its guest is 0.
    Witness,
}

/// The properties of a kind.
struct Row {
    since: u16,
    conversation: Conversation,
    name: &'static str,
    words: &'static str,
}

macro_rules! kinds {
    ($($number:literal $kind:ident $since:literal $conversation:ident $name:literal $words:literal;)*) => {
        /// The kind of a frame.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub(super) enum Kind { $($kind = $number,)* }

        impl Kind {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind with this number.
            pub(super) fn of(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)*
                    _ => None,
                }
            }

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$kind => &Row {
                        since: $since,
                        conversation: Conversation::$conversation,
                        name: $name,
                        words: $words,
                    },)*
                }
            }
        }
    };
}

kinds! {
    // number, kind, first version that has it, conversation, name in docs/LINK.md, words for a person
    0x01 Hello                1 Link    "Hello"          "a hello";
    0x02 HelloAnswer          1 Link    "HelloAnswer"    "a hello's answer";
    0x03 Refuse               1 Link    "Refuse"         "a refusal";
    0x04 Bye                  1 Link    "Bye"            "a goodbye";
    0x05 Ping                 1 Link    "Ping"           "a ping";
    0x06 Pong                 1 Link    "Pong"           "a pong";
    0x07 Bulletin             5 Link    "Bulletin"       "a bulletin";
    0x08 FactsWanted          7 Link    "FactsWanted"    "a question for a host's facts";
    0x09 Facts                7 Link    "Facts"          "a host's facts";

    0x10 GuestOffer           1 Guest   "GuestOffer"     "a guest's offer";
    0x11 Offer                1 Guest   "Offer"          "a primary's offer";
    0x12 EpochBegin           1 Guest   "EpochBegin"     "an epoch's begin";
    0x13 PageBatch            1 Guest   "PageBatch"      "a page batch";
    0x14 LibxcState           1 Guest   "LibxcState"     "libxc state";
    0x15 LibxlState           1 Guest   "LibxlState"     "libxl state";
    0x16 EpochEnd             1 Guest   "EpochEnd"       "an epoch's end";
    0x17 PrimaryHeartbeat     1 Guest   "Heartbeat"      "a primary's heartbeat";
    0x18 Switchover           1 Guest   "Switchover"     "a switchover";
    0x19 Farewell             1 Guest   "Farewell"       "a farewell";
    0x1A GuestOfferGeneration 2 Guest   "GuestOffer"     "a guest's offer";

    0x1B CopyWanted           3 Guest   "CopyWanted"     "a wish for a copy";
    0x1C Input                3 Guest   "Input"          "a guest's input";
    0x1D Handshake            3 Guest   "Handshake"      "a connection's beginning";
    0x1E Released             3 Guest   "Released"       "a release of a copy's output";
    0x1F Cut                  3 Guest   "Cut"            "an epoch's cut of input";

    0x20 Stand                1 Guest   "Stand"          "a secondary's standing";
    0x21 Ack                  1 Guest   "Ack"            "an ack";
    0x22 Declined             1 Guest   "Declined"       "a decline";
    0x23 SecondaryHeartbeat   1 Guest   "Heartbeat"      "a secondary's heartbeat";
    0x24 HoldDeclined         2 Guest   "HoldDeclined"   "a refusal to hold a guest";
    0x25 HoldReady            2 Guest   "HoldReady"      "a readiness to hold a guest";
    0x26 Window               2 Guest   "Window"         "a window";
    0x27 Live                 3 Guest   "Live"           "a copy's beginning";
    0x28 Halted               3 Guest   "Halted"         "a copy's end";
    0x29 Output               3 Guest   "Output"         "a copy's output";

    0x40 GuestOfferDisks      4 Guest   "GuestOffer"     "a guest's offer";
    0x41 DiskWrites           4 Guest   "DiskWrites"     "a batch of disk writes";
    0x42 DiskEnd              4 Guest   "DiskEnd"        "an end of an epoch's disk writes";
    0x43 Taken                4 Guest   "Taken"          "what a guest has taken of its input";
    0x44 Room                 4 Guest   "Room"           "the room for a copy's packets";
    0x45 NeedsFencing         6 Guest   "NeedsFencing"   "a guest's need of fencing";
    0x46 DiskAsk              4 Guest   "DiskAsk"        "a question about a disk";
    0x47 DiskSay              4 Guest   "DiskSay"        "an answer about a disk";

    0x30 WitnessRead          1 Witness "WitnessRead"    "a witness request";
    0x31 WitnessSwap          1 Witness "WitnessSwap"    "a witness request";
    0x32 WitnessReply         1 Witness "WitnessReply"   "a witness reply";
    0x33 WitnessReclaim       1 Witness "WitnessReclaim" "a witness request";
    0x34 LeaseRead            6 Witness "LeaseRead"      "a request about a lease";
    0x35 LeaseSwap            6 Witness "LeaseSwap"      "a request about a lease";
    0x36 LeaseReply           6 Witness "LeaseReply"     "a reply about a lease";
}

impl Kind {
    pub(super) fn number(self) -> u16 {
        self as u16
    }

    /// The first version of the protocol that has it.
    pub(super) fn since(self) -> u16 {
        self.row().since
    }

    pub(super) fn conversation(self) -> Conversation {
        self.row().conversation
    }

    /// Its name in `docs/LINK.md`.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test that reads docs/LINK.md looks for it"))]
    pub(super) fn name(self) -> &'static str {
        self.row().name
    }

    /// What it is, for a person.
    pub(super) fn words(self) -> &'static str {
        self.row().words
    }
}
