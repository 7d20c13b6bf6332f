//! Keys and signs.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Paragraph};

use crate::top::app::App;

const TEXT: &str = "\
Tab            GPUs or slices
Up Down k j    choose; PgUp PgDn Home End as well
Enter          all about what is chosen; Esc goes back
s S            sort slices by something else; the other way round
r              resize the chosen slice
Space          look now
q Ctrl-C       quit

A strip is one XCC's shader engines by their CU slots, the same on every XCC:
  A  guaranteed to slice A        a  slice A runs there, without a guarantee
  +  several slices run there     .  no slice runs there
  *  not the same on every XCC (Enter shows each)
Beside it: units guaranteed + lent / all.

A bar is memory:
  #  used   =  guaranteed and not used   +  lent and used   .  free

ENFORCED: D devices, K kernel (dmem), G guarded (seccomp), C cooperative (shim)";

/// Draws it.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let lines = TEXT.lines().count() as u16;
    let most = lines.saturating_sub(area.height.saturating_sub(2));
    let text = Paragraph::new(TEXT)
        .block(Block::bordered().title(" help "))
        .scroll((app.scroll.min(most), 0));
    frame.render_widget(text, area);
}
