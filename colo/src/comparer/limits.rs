//! How much may wait, and for how long. An operator's settings.

use understudy_checkpoint::time::Span;

/// How much may wait, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Flows that are known at a time. One more forgets one of which nothing waits.
    pub flows_max: usize,
    /// Frames of both guests that wait.
    pub frames_max: usize,
    /// Frames of one flow and guest that wait.
    pub flow_frames_max: usize,
    /// Bytes that are kept of waiting frames.
    pub bytes_max: usize,
    /// A frame of the primary's guest waits for the copy's at least so long, …
    pub match_min: Span,
    /// … and at most so long; in between twice as long as others have waited lately. Then a checkpoint is asked for.
    pub match_max: Span,
    /// A bare acknowledgement waits so long: a guest delays its own by up to 40 ms where nothing else is to be sent.
    pub ack_max: Span,
    /// A frame of the copy waits for the primary's so long.
    pub silence_max: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows_max: 65_536,
            frames_max: 65_536,
            flow_frames_max: 8192,
            bytes_max: 64 << 20,
            match_min: Span::from_ms(5),
            match_max: Span::from_ms(50),
            ack_max: Span::from_ms(100),
            silence_max: Span::from_ms(500),
        }
    }
}
