//! Where in a text a parser's error is.

use std::ops::Range;

/// The line in which a span of bytes begins, counted from 1; the first where there is no span.
pub fn line_number(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start);
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}
