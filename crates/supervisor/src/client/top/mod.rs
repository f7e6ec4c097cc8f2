//! A live view of a pool.
//!
//! The walk: ask for the status -> [`rates`] compares it with the one before -> [`view`] draws both
//! -> wait for a key or for the time to ask again. A pool that does not answer is asked again: it
//! may be starting anew.

mod rates;
mod view;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::rates::Watched;
use self::view::{Sort, View};
use super::Failure;
use super::connect::{self, AskError, PoolClient};
use crate::admin::wire::{Question, Status};

/// Watches until the operator has seen enough.
///
/// # Errors
/// If the pool does not answer at first, or there is no terminal.
pub fn run(pool: &mut PoolClient, interval: Duration) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Output(io::Error::other("top needs a terminal; see status --json")));
    }
    let first = ask(pool)?;
    let mut terminal = ratatui::try_init()?;
    let watched = watch(&mut terminal, pool, interval, first);
    ratatui::restore();
    Ok(watched?)
}

fn ask(pool: &mut PoolClient) -> Result<Status, AskError> {
    connect::read(pool.ask(&Question::Status, &[])?)
}

fn watch(
    terminal: &mut DefaultTerminal,
    pool: &mut PoolClient,
    interval: Duration,
    first: Status,
) -> io::Result<()> {
    let mut watched = Watched::new(first);
    let mut view = View { interval, ..View::default() };
    loop {
        let next = Instant::now() + interval;
        terminal.draw(|frame| view.draw(&watched, frame))?;
        while let Some(key) = key_until(next)? {
            match key {
                Some(key) if is_end(key) => return Ok(()),
                Some(key) => view.on_key(key.code),
                // The window has another size.
                None => {}
            }
            terminal.draw(|frame| view.draw(&watched, frame))?;
        }
        if view.is_paused {
            continue;
        }
        match ask(pool) {
            Ok(status) => {
                watched.take(status);
                view.trouble = None;
            }
            Err(error) => view.trouble = Some(error.to_string()),
        }
    }
}

/// The next key, or `Some(None)` for another event; `None` once the time has come.
fn key_until(at: Instant) -> io::Result<Option<Option<KeyEvent>>> {
    if !event::poll(at.saturating_duration_since(Instant::now()))? {
        return Ok(None);
    }
    Ok(Some(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some(key),
        _ => None,
    }))
}

fn is_end(key: KeyEvent) -> bool {
    let interrupts = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c' | 'd') => interrupts,
        _ => false,
    }
}

impl View {
    fn on_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.scrolled = self.scrolled.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            _ => {}
        }
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Sort::Index => Sort::Connections,
            Sort::Connections => Sort::Requests,
            Sort::Requests => Sort::Messages,
            Sort::Messages => Sort::Memory,
            Sort::Memory => Sort::Index,
        }
    }
}
