//! Draws the live screen: facts or one clip above, then the curve, then the clips, then the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::super::line::{Line, Paint, Tone};
use super::super::screen::{self, Holds};
use super::clips;
use super::view::{KEYS, Pane, View};
use crate::cli::dock::clips::{holds, place};
use crate::cli::dock::why;
use crate::cli::{bytes_for_people, seconds_for_people};
use crate::clip::Clip;

/// Below this nothing useful fits.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 16;
const CURVE_HEIGHT: u16 = 2;
const CURVE_LABEL_WIDTH: u16 = 22;
/// The list has so many lines at least, its head among them.
const LIST_HEIGHT_MIN: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        frame.render_widget(Paragraph::new("too small: 80 by 24, please\nq: quit"), area);
        return;
    }
    let upper = upper(view, area);
    let upper_height = upper.len() as u16;
    let heights = [
        Constraint::Length(upper_height),
        Constraint::Length(CURVE_HEIGHT),
        Constraint::Min(LIST_HEIGHT_MIN),
        Constraint::Length(1),
    ];
    let [upper_area, curve_area, list_area, keys_area] = Layout::vertical(heights).areas(area);
    frame.render_widget(paragraph(&upper, view.paint), upper_area);
    curve(frame, view, curve_area);
    list(frame, view, list_area);
    frame.render_widget(paragraph(&[last_line(view)], view.paint), keys_area);
}

fn style(tone: Tone, paint: Paint) -> Style {
    let style = Style::default();
    let coloured = |colour| match paint {
        Paint::Colours => style.fg(colour),
        Paint::None => style,
    };
    match tone {
        Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Good => coloured(Color::Green),
        Tone::Plain => style,
        Tone::Quiet => style.add_modifier(Modifier::DIM),
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Warning => coloured(Color::Yellow),
    }
}

fn row(line: &Line, paint: Paint) -> Row<'static> {
    let spans = line.pieces().iter();
    Row::from_iter(spans.map(|(tone, text)| Span::styled(text.clone(), style(*tone, paint))))
}

fn paragraph(lines: &[Line], paint: Paint) -> Paragraph<'static> {
    Paragraph::new(lines.iter().map(|line| row(line, paint)).collect::<Vec<_>>())
}

/// What stands above the curve, in at most the lines that the list leaves.
fn upper(view: &View, area: Rect) -> Vec<Line> {
    let room = area.height - LIST_HEIGHT_MIN - CURVE_HEIGHT - 1;
    let width = usize::from(area.width);
    let status = &view.snapshot.status;
    let (tone, word) = screen::verdict_word(status);
    let verdict = Line::of(tone, word).and(Tone::Strong, format!(": {}", status.summary));
    let mut lines = match view.pane {
        Pane::Facts => screen::lines(status, width, room.into(), Holds::Listed),
        Pane::Detail => [vec![verdict], detail(view)].concat(),
        Pane::Help => [vec![verdict, Line::default()], help()].concat(),
    };
    if let Some(trouble) = &view.trouble {
        let hint = trouble.hint.clone().unwrap_or_else(|| "it is tried again by itself".into());
        lines.splice(
            ..lines.len().min(2),
            [
                Line::of(Tone::Bad, format!("cannot refresh: {}", trouble.message)),
                Line::labelled("do", Tone::Strong, hint),
            ],
        );
    }
    lines.truncate(room.into());
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn help() -> Vec<Line> {
    let lines = KEYS.iter().map(|(keys, what)| Line::labelled(keys, Tone::Plain, *what));
    lines.collect()
}

/// All of one clip that helps to decide what to do: the causes first.
fn detail(view: &View) -> Vec<Line> {
    let Some(clip) = view.clip() else {
        return vec![Line::of(Tone::Plain, "no clip is chosen")];
    };
    let mut lines = vec![Line::default(), about(clip, view)];
    for cause in why::of_clip(clip, &view.snapshot.config, &view.snapshot.status) {
        let tone = if cause.needs_you { Tone::Bad } else { Tone::Warning };
        let since = cause.since_seconds.map(seconds_for_people);
        let since = since.map_or(String::new(), |since| format!(" for {since}"));
        let text = format!("{}{since}: {}", cause.code, cause.what);
        lines.push(Line::labelled("why", tone, text));
        lines.push(Line::labelled("do", Tone::Strong, cause.command()));
    }
    lines.push(Line::labelled("file", Tone::Plain, place(clip)));
    for delivery in &clip.deliveries {
        if let Some(receipt) = &delivery.receipt {
            let (at, evidence) = (receipt.stored_at, receipt.evidence.word());
            let text = format!("{at} from {}: {evidence}", delivery.bucket);
            lines.push(Line::labelled("receipt", Tone::Good, text));
        }
    }
    if let Some(sealed) = &clip.sealed {
        lines.push(Line::labelled("digest", Tone::Plain, sealed.name.to_string()));
        lines.push(Line::labelled("sealed", Tone::Plain, sealed.sealed_at.to_string()));
    }
    if let Some(hold) = holds(clip).next() {
        let text = format!("{} in a row, since {}", hold.attempts, hold.since);
        lines.push(Line::labelled("attempts", Tone::Plain, text));
    }
    lines
}

fn about(clip: &Clip, view: &View) -> Line {
    let seen = seconds_for_people(view.snapshot.now.seconds_since(clip.seen_at));
    let (size, state) = (bytes_for_people(clip.generation.size_bytes), clip.state().word());
    let text = format!("{} is {state}; {size}, found {seen} ago", clip.id);
    Line::labelled("clip", Tone::Strong, text)
}

/// What the buckets take, and took in the last minutes.
fn curve(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let widths = [Constraint::Length(CURVE_LABEL_WIDTH), Constraint::Min(1)];
    let [label_area, curve_area] = Layout::horizontal(widths).areas(area);
    let curve = view.throughput.curve(curve_area.width.into());
    let rate = |bytes: Option<u64>| format!("{}/s", bytes_for_people(bytes.unwrap_or(0)));
    let label = [
        Line::labelled("sent", Tone::Plain, rate(curve.last().copied())),
        Line::labelled("  at most", Tone::Quiet, rate(curve.iter().max().copied())),
    ];
    frame.render_widget(paragraph(&label, view.paint), label_area);
    // The newest at the right edge.
    let width = (curve.len() as u16).min(curve_area.width);
    let x = curve_area.right().saturating_sub(width);
    let area = Rect { x, width, ..curve_area };
    frame.render_widget(
        Sparkline::default().data(&curve).style(style(Tone::Good, view.paint)),
        area,
    );
}

fn list(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    let page = usize::from(area.height.saturating_sub(1)).max(1);
    view.page = page;
    // The chosen clip is always in sight.
    view.first = view.first.clamp((view.index() + 1).saturating_sub(page), view.index());
    let (first, width) = (view.first, usize::from(area.width));
    let snapshot = &view.snapshot;
    let mut rows = vec![row(&Line::of(Tone::Quiet, clips::HEAD).cut(width), view.paint)];
    if snapshot.clips.is_empty() {
        rows.push(Row::from("no clips"));
    }
    for (index, clip) in snapshot.clips.iter().enumerate().skip(first).take(page) {
        let line = clips::line(clip, &snapshot.uploads, snapshot.now, width).cut(width);
        let mut row = row(&line, view.paint);
        if index == view.index() {
            row = row.patch_style(Style::default().add_modifier(Modifier::REVERSED));
        }
        rows.push(row);
    }
    frame.render_widget(Paragraph::new(rows), area);
}

fn last_line(view: &View) -> Line {
    let message = view.message.as_ref().map_or(String::new(), |message| format!("{message}  "));
    Line::of(Tone::Strong, message)
        .and(Tone::Quiet, "↑↓ choose  Enter why  r retry  ? help  q quit")
}
