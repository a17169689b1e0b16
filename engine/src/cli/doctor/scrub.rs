//! Takes secrets out of text that others wrote: logs, units, configurations. They should not be there; a person may have put them.
//!
//! ```text
//!   -----BEGIN … PRIVATE KEY----- … -----END        the block
//!   a word of 32 hexadecimal digits                 the form of an invitation's token
//!   password = …, token: …, secret=…, passwd …      what follows, unless it names a file
//!   scheme://user:password@host                     user and password
//! ```

/// What stands in place of a secret.
pub(super) const LEFT_OUT: &str = "(left out)";

/// Hexadecimal digits of an invitation's token.
const TOKEN_DIGITS: usize = 32;

/// Words behind which a secret may stand.
const TELLTALES: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

/// The text without them.
pub(super) fn scrub(text: &str) -> String {
    let mut is_key = false;
    let mut clean = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        let ends = line.contains("-----END");
        if begins {
            clean += LEFT_OUT;
            clean.push('\n');
        } else if !is_key {
            scrub_line(&mut clean, line);
        }
        is_key = (is_key || begins) && !ends;
    }
    clean
}

fn scrub_line(clean: &mut String, line: &str) {
    let line = &*without_user(line);
    let lower = line.to_ascii_lowercase();
    let told_at = TELLTALES.iter().filter_map(|word| lower.find(word)).min();
    if let Some(at) = told_at
        && let Some(value) = line[at..].find(['=', ':']).map(|separator| at + separator + 1)
        && !lower[at..value].contains("file")
    {
        *clean += &format!("{} {LEFT_OUT}\n", &line[..value]);
        return;
    }
    let is_digit = |letter: char| letter.is_ascii_hexdigit();
    let mut rest = line;
    while let Some(begin) = rest.find(is_digit) {
        let end = rest[begin..].find(|letter| !is_digit(letter)).map_or(rest.len(), |length| begin + length);
        *clean += &rest[..begin];
        *clean += if end - begin == TOKEN_DIGITS { LEFT_OUT } else { &rest[begin..end] };
        rest = &rest[end..];
    }
    *clean += rest;
}

/// The line without what stands between `://` and `@`.
fn without_user(line: &str) -> String {
    let Some(user) = line.find("://").map(|at| at + 3) else { return line.to_owned() };
    let ends = line[user..].find(char::is_whitespace).map_or(line.len(), |length| user + length);
    match line[user..ends].rfind('@') {
        Some(length) => format!("{}{LEFT_OUT}{}", &line[..user], &line[user + length..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_everything_else_stays() {
        let token = "0123456789abcdef0123456789ABCDEF";
        let fingerprint = token.repeat(2);
        for (text, clean) in [
            ("node = \"a\"\n", "node = \"a\"\n"),
            (&*format!("understudy join {token} a\n"), "understudy join (left out) a\n"),
            (&*format!("own: {fingerprint}\n"), &*format!("own: {fingerprint}\n")),
            ("etcd password = \"hunter2\"\n", "etcd password = (left out)\n"),
            ("password_file = \"/etc/pw\"\n", "password_file = \"/etc/pw\"\n"),
            ("Token: abc", "Token: (left out)\n"),
            ("witness = \"etcd://u:p@10.0.0.1:2379\"", "witness = \"etcd://(left out)@10.0.0.1:2379\""),
            (
                "a\n-----BEGIN EC PRIVATE KEY-----\nMIGH\n-----END EC PRIVATE KEY-----\nb\n",
                "a\n(left out)\nb\n",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIGH\n", "(left out)\n"),
            ("-----BEGIN CERTIFICATE-----\nMII\n", "-----BEGIN CERTIFICATE-----\nMII\n"),
        ] {
            assert_eq!(scrub(text), clean);
        }
    }
}
