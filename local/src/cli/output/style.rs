//! The styles of the output; the streams remove them where they are not wanted (NO_COLOR, no terminal).

use anstyle::{AnsiColor, Color, Style};

pub(crate) const RED: Style = coloured(AnsiColor::Red).bold();
pub(crate) const YELLOW: Style = coloured(AnsiColor::Yellow).bold();
pub(crate) const GREEN: Style = coloured(AnsiColor::Green);
pub(crate) const BOLD: Style = Style::new().bold();

const fn coloured(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// `text` in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{}{text}{}", style.render(), style.render_reset())
}
