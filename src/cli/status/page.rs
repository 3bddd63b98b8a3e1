//! The page of `status --watch`: how it stands, in place on a screen of its own, until somebody leaves it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use chrono::Utc;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::plain_text::cut;

/// Whether there is a terminal to draw on and to be told by.
pub(super) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows what `look` says, again after each `pause`, until `q`, Escape, Ctrl-C or `stop`.
///
/// # Errors
/// When the terminal takes nothing or gives nothing. It is as it was before in any case.
pub(super) async fn show<Look: Future<Output = String>>(
    look: impl Fn() -> Look,
    pause: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut page = Page::open()?;
    let mut events = EventStream::new();
    let look_after = |pause| {
        let looking = look();
        async move {
            tokio::time::sleep(pause).await;
            looking.await
        }
    };
    let mut looking = Box::pin(look_after(Duration::ZERO));
    loop {
        page.draw()?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            text = &mut looking => {
                page.tell(&text);
                looking.set(look_after(pause));
            }
            event = events.next() => match event.transpose()? {
                Some(Event::Key(key)) if is_leaving(key) => return Ok(()),
                Some(Event::Key(key)) => page.scroll(key.code),
                // A resize is drawn as everything is; nobody is there any more.
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

/// In this mode of a terminal Ctrl-C is a key like others.
fn is_leaving(key: KeyEvent) -> bool {
    let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// The other screen of the terminal, and what is on it. When it is dropped, the terminal is as it was.
struct Page {
    lines: Vec<String>,
    /// When this was so.
    made: String,
    /// The line on top.
    top: usize,
}

impl Page {
    fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on dropping it undoes what was done.
        let page = Self {
            lines: vec!["looking ...".to_owned()],
            made: String::new(),
            top: 0,
        };
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(page)
    }

    fn tell(&mut self, text: &str) {
        self.lines = text.lines().map(str::to_owned).collect();
        self.made = Utc::now().format("as of %H:%M:%S UTC, ").to_string();
    }

    fn scroll(&mut self, key: KeyCode) {
        self.top = match key {
            KeyCode::Down => self.top + 1,
            KeyCode::Up => self.top.saturating_sub(1),
            KeyCode::PageDown => self.top + 10,
            KeyCode::PageUp => self.top.saturating_sub(10),
            _ => self.top,
        };
    }

    /// Draws all of it for the terminal's size of this moment, the last row for what can be done here.
    fn draw(&mut self) -> io::Result<()> {
        let (columns, rows) = terminal::size()?;
        let room = usize::from(rows.saturating_sub(1));
        self.top = self.top.min(self.lines.len().saturating_sub(room));
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        let shown = self.lines.iter().skip(self.top).map(String::as_str);
        for (row, line) in (0..rows.saturating_sub(1)).zip(shown.chain(std::iter::repeat(""))) {
            let line = cut(line, usize::from(columns));
            queue!(out, MoveTo(0, row), Clear(ClearType::CurrentLine), Print(line))?;
        }
        let more = match self.lines.len() > room {
            true => format!(
                ", lines {} to {} of {}: arrow keys",
                self.top + 1,
                self.top + room,
                self.lines.len()
            ),
            false => String::new(),
        };
        let bottom = cut(&format!("{}q leaves{more}", self.made), usize::from(columns));
        queue!(
            out,
            MoveTo(0, rows.saturating_sub(1)),
            Clear(ClearType::CurrentLine),
            SetAttribute(Attribute::Reverse),
            Print(bottom),
            SetAttribute(Attribute::Reset),
            EndSynchronizedUpdate
        )?;
        out.flush()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Each by itself: what one terminal does not take is to keep nobody from the rest.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
