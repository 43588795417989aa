//! Texts of others (names, events, logs, errors, answers of DNS, paths of requests) must not steer the terminal that
//! shows them, nor look like something else: invisible characters are shown as escapes. Pure.

use std::fmt::Write as _;

use super::style::{BOLD, GREEN, RED, YELLOW};

/// One line: nothing in it begins another one.
pub(crate) fn printable(text: &str) -> String {
    visible(text, |_| false)
}

/// Lines, and columns between tabs.
pub(super) fn lines(text: &str) -> String {
    visible(text, |character| matches!(character, '\n' | '\t'))
}

/// JSON that any terminal may show. Only its strings can have such characters.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

pub(super) fn is_safe(text: &str) -> bool {
    !text.chars().any(|character| is_invisible(character) && character != '\n')
}

/// Our own styles stay: in other text, the worst that they can do is colour a word.
fn visible(text: &str, is_layout: impl Fn(char) -> bool) -> String {
    let styles = [RED, YELLOW, GREEN, BOLD].map(|style| style.render().to_string());
    let reset = BOLD.render_reset().to_string();
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let is_style = |style: &&str| character == '\u{1b}' && rest.starts_with(*style);
        let length = match styles.iter().chain([&reset]).map(String::as_str).find(is_style) {
            Some(style) => {
                shown.push_str(style);
                style.len()
            }
            None if is_invisible(character) && !is_layout(character) => {
                shown.extend(character.escape_default());
                character.len_utf8()
            }
            None => {
                shown.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    shown
}

/// Controls (C0, DEL, C1), characters that turn the direction of text or have no width, other line ends, and tags.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Hostile text: it clears the screen, sets the title, begins a line, goes back, and reverses text.
#[cfg(test)]
pub(crate) const HOSTILE: &str =
    "a\u{1b}[2J\u{1b}]0;t\u{7}\n✓ b\r\u{8}\u{9b}1A\u{7f}\u{202e}c\u{200b}\u{e0041}\u{2028}d\te";

/// Whether a text has this number of lines, and nothing invisible except our own styles.
#[cfg(test)]
pub(crate) fn is_harmless(text: &str, lines: usize) -> bool {
    text.lines().count() == lines && self::lines(text) == text
}

#[cfg(test)]
mod tests {
    use super::super::style::styled;
    use super::*;

    #[test]
    fn nothing_invisible_is_left_in_a_line() {
        assert_eq!(
            printable(HOSTILE),
            "a\\u{1b}[2J\\u{1b}]0;t\\u{7}\\n✓ b\\r\\u{8}\\u{9b}1A\\u{7f}\\u{202e}c\\u{200b}\\u{e0041}\\u{2028}d\\te"
        );
        assert_eq!(printable("orders-7f3a, Straße, 日本, ✓"), "orders-7f3a, Straße, 日本, ✓");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines("a\tb\nc\u{1b}[1A\n"), "a\tb\nc\\u{1b}[1A\n");
    }

    #[test]
    fn only_our_own_styles_reach_the_terminal() {
        let own = format!("{} {}", styled(RED, "error:"), styled(GREEN, "✓"));
        assert_eq!(printable(&own), own);
        for foreign in ["\u{1b}[8m", "\u{1b}[31;1m", "\u{1b}[1", "\u{1b}", "\u{1b}[38;5;1m"] {
            assert!(!printable(foreign).contains('\u{1b}'), "{foreign:?}");
        }
    }

    #[test]
    fn json_means_the_same_and_shows_nothing_invisible() {
        let value = serde_json::json!({ "name": HOSTILE, "list": ["x"] });
        let shown = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(is_safe(&shown), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
