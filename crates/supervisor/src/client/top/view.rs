//! How a pool is drawn.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use shovel_scribe::plain::plain;

use super::rates::{Rates, Watched};
use crate::admin::wire::{ReloadOutcome, ReloadState, Status, Worker, WorkerState};
use crate::client::text::{self, WORKER_COLUMNS};

/// Channels that are told of.
const CHANNELS: usize = 6;

/// What the operator has chosen to see.
#[derive(Debug, Default)]
pub struct View {
    pub interval: Duration,
    pub sort: Sort,
    /// Workers that are left out on top.
    pub scrolled: usize,
    pub is_paused: bool,
    /// Why the last question was not answered.
    pub trouble: Option<String>,
}

/// In which order workers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Index,
    Connections,
    Requests,
    Messages,
    Memory,
}

impl View {
    /// Draws everything.
    pub fn draw(&mut self, watched: &Watched, frame: &mut Frame<'_>) {
        let channels = watched.status.channels.largest.len().min(CHANNELS) as u16;
        let [title, facts, traffic, workers, channel_list, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(5),
            Constraint::Length(10),
            Constraint::Min(4),
            Constraint::Length(if channels == 0 { 0 } else { channels + 1 }),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_title(&watched.status, frame, title);
        draw_facts(&watched.status, frame, facts);
        let [numbers, charts] =
            Layout::horizontal([Constraint::Length(54), Constraint::Min(0)]).areas(traffic);
        draw_traffic(&watched.status, watched.rates.as_ref(), frame, numbers);
        draw_charts(watched, frame, charts);
        self.draw_workers(watched, frame, workers);
        draw_channels(&watched.status, frame, channel_list);
        self.draw_keys(frame, keys);
    }

    fn draw_title(&self, status: &Status, frame: &mut Frame<'_>, area: Rect) {
        if let Some(trouble) = &self.trouble {
            let told = format!("{}; what follows is old; asking again", plain(trouble));
            return frame.render_widget(Line::from(told).red().bold(), area);
        }
        let note = match self.is_paused {
            true => Span::from("paused").yellow().bold(),
            false => {
                Span::from(format!("every {}", text::duration(self.interval.as_secs_f64()))).dim()
            }
        };
        let widths = [Constraint::Min(0), Constraint::Length(note.width() as u16)];
        let [left, right] = Layout::horizontal(widths).areas(area);
        frame.render_widget(Line::from(text::title(status)).bold(), left);
        frame.render_widget(note, right);
    }

    fn draw_workers(&mut self, watched: &Watched, frame: &mut Frame<'_>, area: Rect) {
        let mut workers: Vec<_> = watched.status.workers.iter().collect();
        let rates = |worker: &Worker| {
            let rates = watched.rates.as_ref();
            rates.and_then(|rates| rates.workers.get(&worker.id)).copied().unwrap_or_default()
        };
        // Sorting is stable: equal ones stay in the order of their places.
        workers.sort_by_key(|worker| (worker.index, worker.id));
        match self.sort {
            Sort::Index => {}
            Sort::Connections => workers.sort_by_key(|worker| u64::MAX - worker.connections),
            Sort::Requests => {
                workers.sort_by(|a, b| rates(b).requests.total_cmp(&rates(a).requests))
            }
            Sort::Messages => {
                workers.sort_by(|a, b| rates(b).messages.total_cmp(&rates(a).messages))
            }
            Sort::Memory => workers.sort_by_key(|worker| u64::MAX - worker.rss_bytes),
        }
        let room = area.height.saturating_sub(1) as usize;
        self.scrolled = self.scrolled.min(workers.len().saturating_sub(room));
        let rows = workers.iter().skip(self.scrolled).map(|worker| {
            let mut cells = text::worker_row(worker).to_vec();
            let rates = rates(worker);
            cells[7] = rate(rates.requests);
            cells[8] = rate(rates.messages);
            row(cells).style(state_style(worker.state))
        });
        let mut columns = WORKER_COLUMNS;
        (columns[7], columns[8]) = ("REQS/S", "MSGS/S");
        let chosen = match self.sort {
            Sort::Index => 1,
            Sort::Connections => 6,
            Sort::Requests => 7,
            Sort::Messages => 8,
            Sort::Memory => 9,
        };
        let head = columns.iter().enumerate().map(|(column, name)| {
            let style = if column == chosen { Style::new().underlined() } else { Style::new() };
            aligned(column, name).style(style)
        });
        // 80 columns with the spaces between.
        let widths = [4, 5, 3, 7, 8, 7, 6, 6, 7, 9, 8].map(Constraint::Length);
        let table = Table::new(rows, widths).header(Row::new(head).style(HEAD)).column_spacing(1);
        frame.render_widget(table, area);
    }

    fn draw_keys(&self, frame: &mut Frame<'_>, area: Rect) {
        let keys = "q quit   s sort   p pause   ↑↓ scroll";
        frame.render_widget(Paragraph::new(keys).dim(), area);
    }
}

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD).fg(Color::Cyan);

fn state_style(state: WorkerState) -> Style {
    match state {
        WorkerState::Ready => Style::new(),
        WorkerState::Starting => Style::new().cyan(),
        WorkerState::Draining => Style::new().yellow(),
        WorkerState::Stopping => Style::new().dim(),
    }
}

/// Numbers to the right; states are words.
fn aligned(column: usize, text: &str) -> Cell<'static> {
    let line = Line::from(text.to_owned());
    Cell::from(if column == 4 { line.left_aligned() } else { line.right_aligned() })
}

fn row(cells: Vec<String>) -> Row<'static> {
    Row::new(cells.into_iter().enumerate().map(|(column, text)| aligned(column, &text)))
}

fn draw_facts(status: &Status, frame: &mut Frame<'_>, area: Rect) {
    let wanted = ["program", "listening", "reload", "workers"];
    let facts = text::facts(status).into_iter().filter(|(name, _)| wanted.contains(name));
    let lines: Vec<_> = facts
        .map(|(name, value)| {
            let style = if name == "reload" { reload_style(status) } else { Style::new() };
            Line::from(vec![Span::from(format!("{name:<10} ")).dim(), Span::styled(value, style)])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn reload_style(status: &Status) -> Style {
    let has_failed = |status: &Status| {
        status.reload.last.as_ref().is_some_and(|last| last.outcome != ReloadOutcome::Finished)
    };
    match status.reload.state {
        ReloadState::Starting | ReloadState::Draining => Style::new().yellow(),
        ReloadState::Abandoned => Style::new().red(),
        ReloadState::Idle if has_failed(status) => Style::new().red(),
        ReloadState::Idle => Style::new(),
    }
}

/// What there is of something now, how fast it comes, and how much has come.
struct Traffic {
    name: &'static str,
    now: Option<String>,
    rate: Option<fn(&Rates) -> f64>,
    total: Option<u64>,
    /// Whether any of it is too much.
    is_bad: bool,
}

fn traffic(status: &Status) -> [Traffic; 9] {
    let totals = &status.totals;
    let under_way = match totals.requests_waiting {
        0 => totals.requests_under_way.to_string(),
        waiting => format!("{}+{waiting}", totals.requests_under_way),
    };
    let clients = Some(grouped(totals.clients));
    let connections = Some(grouped(status.connections));
    let waiting = Some(text::bytes(totals.outbox_bytes));
    let of = |name, now, rate, total| {
        let is_bad = matches!(name, "answered 5xx" | "slow consumers");
        Traffic { name, now, rate, total: Some(total), is_bad }
    };
    [
        of("clients", clients, Some(|all| all.clients), totals.clients_accepted),
        of("WebSockets", connections, Some(|all| all.connections), totals.connections_opened),
        of("requests", Some(under_way), Some(|all| all.requests), totals.requests),
        of("answered 5xx", None, Some(|all| all.server_errors), totals.server_errors),
        of("messages received", None, Some(|all| all.received), totals.messages_received),
        of("messages sent", None, Some(|all| all.sent), totals.messages_sent),
        of("published, delivered", None, Some(|all| all.delivered), totals.delivered),
        of("slow consumers", None, Some(|all| all.slow_consumers), totals.slow_consumers),
        Traffic { total: None, ..of("waiting for clients", waiting, None, 0) },
    ]
}

fn draw_traffic(status: &Status, rates: Option<&Rates>, frame: &mut Frame<'_>, area: Rect) {
    let rows = traffic(status).map(|Traffic { name, now, rate: of, total, is_bad }| {
        let per_second = of.zip(rates).map(|(of, rates)| of(rates));
        let style = match is_bad && per_second.is_some_and(|rate| rate > 0.0) {
            true => Style::new().red(),
            false => Style::new(),
        };
        let numbers =
            [now, per_second.map(rate), total.map(grouped)].map(Option::unwrap_or_default);
        let numbers = numbers.map(|number| Cell::from(Line::from(number).right_aligned()));
        Row::new([Cell::from(name)].into_iter().chain(numbers)).style(style)
    });
    let head = ["NOW", "PER SECOND", "SO FAR"].map(|name| Line::from(name).right_aligned());
    let head = [Line::from("TRAFFIC")].into_iter().chain(head);
    let widths = [20, 9, 10, 11].map(Constraint::Length);
    let table = Table::new(rows, widths).header(Row::new(head).style(HEAD)).column_spacing(1);
    frame.render_widget(table, area);
}

fn draw_charts(watched: &Watched, frame: &mut Frame<'_>, area: Rect) {
    let halves = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]);
    let [requests, messages] = halves.areas(area);
    draw_chart("requests/s", &watched.requests, frame, requests);
    draw_chart("messages/s, in and out", &watched.messages, frame, messages);
}

/// The newest at the right.
fn draw_chart(name: &str, series: &VecDeque<u64>, frame: &mut Frame<'_>, area: Rect) {
    let shown: Vec<_> = series.iter().take(area.width as usize).copied().collect();
    let most = shown.iter().max().copied().unwrap_or(0);
    let title = Line::from(format!("{name}, most {}", grouped(most))).style(HEAD);
    let chart = Sparkline::default()
        .block(Block::new().title(title))
        .direction(ratatui::widgets::RenderDirection::RightToLeft)
        .style(Style::new().green())
        .data(&shown);
    frame.render_widget(chart, area);
}

fn draw_channels(status: &Status, frame: &mut Frame<'_>, area: Rect) {
    if area.height == 0 {
        return;
    }
    let title = format!("CHANNELS, {} in all", status.channels.total);
    let head = ["SUBSCRIBED", "WORKERS", &*title];
    let head = head.map(str::to_owned).into_iter().enumerate();
    let head = head.map(|(column, name)| Cell::from(by_column(column, name)));
    let rows = status.channels.largest.iter().take(CHANNELS).map(|channel| {
        let cells = [channel.connections.to_string(), channel.workers.to_string()];
        let cells = cells.into_iter().chain([plain(&channel.name).into_owned()]).enumerate();
        Row::new(cells.map(|(column, cell)| Cell::from(by_column(column, cell))))
    });
    let widths = [Constraint::Length(10), Constraint::Length(7), Constraint::Fill(1)];
    let table = Table::new(rows, widths).header(Row::new(head).style(HEAD)).column_spacing(2);
    frame.render_widget(table, area);
}

fn by_column(column: usize, text: String) -> Line<'static> {
    let line = Line::from(text);
    if column < 2 { line.right_aligned() } else { line.left_aligned() }
}

fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{rate:.1}"),
        _ => grouped(rate.round() as u64),
    }
}

/// With a mark after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::client::text::tests::status;

    fn drawn(view: &mut View, watched: &Watched, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(watched, frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_pool_is_drawn_with_its_rates() {
        let mut watched = Watched::new(status());
        let mut next = status();
        next.uptime += 1.0;
        next.totals.requests += 1234;
        watched.take(next);
        let screen = drawn(&mut View::default(), &watched, 110, 34);
        for text in ["generation 3", "1,234", "draining", "FAILED", "room", "q quit"] {
            assert!(screen.contains(text), "{text}:\n{screen}");
        }
    }

    #[test]
    fn no_size_of_the_window_is_too_small() {
        let watched = Watched::new(status());
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            drawn(&mut View::default(), &watched, width, height);
        }
    }

    #[test]
    fn workers_are_shown_in_the_order_that_was_chosen() {
        let watched = Watched::new(status());
        let mut view = View { sort: Sort::Connections, ..View::default() };
        let screen = drawn(&mut view, &watched, 110, 34);
        assert!(screen.find("4002") < screen.find("4001"), "{screen}");
        view.sort = Sort::Index;
        let screen = drawn(&mut view, &watched, 110, 34);
        assert!(screen.find("4001") < screen.find("4002"), "{screen}");
    }

    #[test]
    fn trouble_is_told_even_in_a_narrow_window() {
        let watched = Watched::new(status());
        let mut view = View { trouble: Some("no pool answers".into()), ..View::default() };
        assert!(drawn(&mut view, &watched, 40, 24).contains("no pool answers"));
    }

    #[test]
    fn numbers_are_told_in_groups() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.25, 9.9, 10.0, 1e6].map(rate), ["0", "0.2", "9.9", "10", "1,000,000"]);
    }
}
