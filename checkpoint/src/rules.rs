//! A list of rules, each written once with its documentation and its stable name.

/// Declares an enum of rules with `ALL`, `id` and `Display`.
macro_rules! rules {
    ($(#[$attribute:meta])* $Rule:ident { $($(#[$doc:meta])* $name:ident = $id:literal,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $Rule { $($(#[$doc])* $name,)* }

        impl $Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The rule's stable name.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }
        }

        impl std::fmt::Display for $Rule {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.id())
            }
        }
    };
}

pub(crate) use rules;
