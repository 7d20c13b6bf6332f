//! What is said to a person, as one line: much of it quotes what an image, an annotation or a file of another says, and
//! a terminal takes orders from that.

use std::fmt::Write;

/// Longest line, in bytes: more than any reason needs.
const LONGEST: usize = 4096;

/// A text without line breaks, with every other control character as Rust writes it, cut where it is too long.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        let written = match character {
            '\n' | '\r' | '\t' => line.write_char(' '),
            other if other.is_control() => write!(line, "{}", other.escape_debug()),
            other => line.write_char(other),
        };
        if written.is_err() || line.len() > LONGEST {
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_quoted_text_breaks_no_line_and_gives_a_terminal_no_orders() {
        assert_eq!(
            one_line("sdg.me\x1b[2J\nmory: no\tkey\r\n"),
            "sdg.me\\u{1b}[2J mory: no key"
        );
        assert_eq!(one_line("a\u{9b}1m – ünïcode"), "a\\u{9b}1m – ünïcode");
        assert!(one_line(&"x".repeat(1 << 20)).len() < 5000);
    }
}
