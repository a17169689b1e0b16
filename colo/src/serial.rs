//! Numbers that wrap: those of a TCP stream (RFC 9293, section 3.4), and its time stamps (RFC 7323, section 5.2).

/// A number of a TCP stream, or of its sender's clock. Two that are compared are never further apart than half of all numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Number(pub u32);

impl Number {
    /// How far this number lies past another; negative if it lies before.
    pub const fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// Whether this number lies past another.
    pub const fn is_past(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// The number `count` further on.
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The later of two.
    pub const fn or_later(self, other: Self) -> Self {
        if other.is_past(self) { other } else { self }
    }

    /// The earlier of two.
    pub const fn or_earlier(self, other: Self) -> Self {
        if self.is_past(other) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn numbers_wrap() {
        let (before, after) = (Number(u32::MAX - 1), Number(3));
        assert!(after.is_past(before) && !before.is_past(after) && !after.is_past(after));
        assert_eq!((after.since(before), before.plus(5)), (5, after));
        assert_eq!((before.or_later(after), before.or_earlier(after)), (after, before));
    }
}
