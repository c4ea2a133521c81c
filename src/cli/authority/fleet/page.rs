//! The fleet as one web page for a wall: nothing fetched, every text escaped, read from afar.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::super::super::seconds_for_people;
use super::table::{sum, why};
use crate::authority::fleet::{Fleet, Row, Verdict};
use crate::cli::html::escaped;
use crate::clip::Timestamp;

/// How often the page fetches itself where nobody watches, in seconds.
const REFRESH_SECONDS: u64 = 60;
/// Docks that have a card of their own. What is more is counted: nobody scrolls a wall.
const CARD_COUNT_MAX: usize = 6;
/// Up to so many docks, of which up to so many need somebody, there is room for large lights.
const CALM_COUNT_MAX: (usize, usize) = (500, 3);
/// From so many docks on there is room for small lights only.
const CROWD_COUNT_MIN: usize = 800;

const STYLE: &str = include_str!("page.css");

/// A wall that shows the night before last is worse than none: says so, once nobody wrote the page
/// for a while.
const SCRIPT: &str = include_str!("page.js");

/// The page. `trouble`: why it is not of now. `watch`: how often it is written.
pub(super) fn page(fleet: &Fleet, trouble: Option<&str>, watch: Option<u64>) -> String {
    let refresh = watch.unwrap_or(REFRESH_SECONDS);
    let needing: Vec<&Row> = fleet.rows.iter().filter(|row| row.verdict.needs_you()).collect();
    let well: Vec<&Row> = fleet.rows.iter().filter(|row| row.verdict == Verdict::Ok).collect();
    let mood = match (trouble, fleet.at_risk_count(), needing.len()) {
        (Some(_), _, _) | (_, 1.., _) => "bad",
        (None, 0, 1..) => "warn",
        (None, 0, 0) => "good",
    };
    let size = match (fleet.rows.len(), needing.len()) {
        (CROWD_COUNT_MIN.., _) => " crowd",
        (docks, needing) if docks <= CALM_COUNT_MAX.0 && needing <= CALM_COUNT_MAX.1 => " calm",
        _ => "",
    };
    let script_digest = BASE64.encode(Sha256::digest(SCRIPT.as_bytes()));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'sha256-{script_digest}'\">\n\
         <meta http-equiv=\"refresh\" content=\"{refresh}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n\
         <body class=\"{mood}{size}\" data-old=\"{old}\">\n",
        title = escaped(&fleet.headline()),
        old = 3 * refresh + 60,
    );
    page.push_str("<p id=\"old\">This screen stands still: nobody writes it any more.</p>\n");
    if let Some(trouble) = trouble {
        page.push_str(&format!("<p class=\"trouble\">Not new: {}</p>\n", escaped(trouble)));
    }
    page.push_str(&figures(fleet, needing.len()));
    page.push_str(&cards(&needing, fleet.at));
    page.push_str(&lights(fleet));
    let words = if well.is_empty() { "no dock is well".to_owned() } else { sum(&well) };
    page.push_str(&format!(
        "<footer><span>{}</span><span>as of \
         <time datetime=\"{at}\">{at_for_people}</time></span></footer>\n\
         <script>{SCRIPT}</script>\n</body></html>\n",
        escaped(&words),
        at = escaped(&fleet.at.to_string()),
        at_for_people = escaped(&for_people(fleet.at)),
    ));
    page
}

/// `2026-11-21 09:00:00 UTC`.
fn for_people(at: Timestamp) -> String {
    let at = at.to_string().replace('T', " ");
    format!("{} UTC", at.split(['.', 'Z']).next().unwrap_or_default())
}

/// The three numbers.
fn figures(fleet: &Fleet, needing: usize) -> String {
    let class = |is_zero, word| if is_zero { "zero" } else { word };
    let risk = fleet.at_risk_count();
    let unknown = match fleet.unknown_count() {
        0 => String::new(),
        1 => "<small>of 1 dock not known</small>".to_owned(),
        count => format!("<small>of {count} docks not known</small>"),
    };
    format!(
        "<header><div><b>{docks}</b> {docks_word}</div>\
         <div class=\"{need_class}\"><b>{needing}</b> {need_word} you</div>\
         <div class=\"{risk_class}\"><b>{risk}</b> {risk_word} at risk{unknown}</div></header>\n",
        docks = fleet.rows.len(),
        docks_word = if fleet.rows.len() == 1 { "dock" } else { "docks" },
        need_class = class(needing == 0, "need"),
        need_word = if needing == 1 { "needs" } else { "need" },
        risk_class = class(risk == 0, "risk"),
        risk_word = if risk == 1 { "clip" } else { "clips" },
    )
}

/// The docks that need somebody, as large as there is room.
fn cards(needing: &[&Row], now: Timestamp) -> String {
    let mut cards = String::from("<main>\n");
    let room = if needing.len() > CARD_COUNT_MAX { CARD_COUNT_MAX - 1 } else { CARD_COUNT_MAX };
    for row in needing.iter().take(room) {
        let risk = match row.at_risk_count() {
            Some(0) => String::new(),
            Some(count) => format!("<i>{count} at risk</i>"),
            None => "<i>risk not known</i>".to_owned(),
        };
        let said = match row.said_seconds {
            Some(seconds) => format!("{} ago", seconds_for_people(seconds)),
            None => String::new(),
        };
        cards.push_str(&format!(
            "<section class=\"{class}\"><h2>{dock}</h2><p><em>{verdict}</em> {risk} {said}</p>\
             <p>{why}</p></section>\n",
            class = class(row.verdict),
            dock = escaped(&row.dock),
            verdict = row.verdict.word(),
            said = escaped(&said),
            why = escaped(&why(row, now)),
        ));
    }
    if needing.len() > room {
        let rest = needing.len() - room;
        cards.push_str(&format!("<section class=\"rest\"><h2>and {rest} more</h2></section>\n"));
    }
    if needing.is_empty() {
        cards.push_str("<section class=\"none\"><h2>Nothing to do.</h2></section>\n");
    }
    cards + "</main>\n"
}

/// One light for each dock, in the order of their names, so that each has its place.
fn lights(fleet: &Fleet) -> String {
    let mut rows: Vec<&Row> = fleet.rows.iter().collect();
    rows.sort_by(|a, b| a.dock.cmp(&b.dock));
    let lights = rows.into_iter().map(|row| {
        let (class, name) = (class(row.verdict), escaped(&row.dock));
        format!("<li class=\"{class}\" title=\"{name}: {}\"></li>", row.verdict.word())
    });
    format!("<ul>{}</ul>\n", lights.collect::<String>())
}

/// How a dock is coloured.
fn class(verdict: Verdict) -> &'static str {
    match verdict.rank() {
        0 => "silent",
        1 => "wrong",
        2 => "attention",
        3 => "waiting",
        4 => "ok",
        _ => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_trouble_becomes_markup() {
        let row = Row {
            dock: "<img src=x onerror='a'>".into(),
            verdict: Verdict::Unknown,
            status: None,
            said_seconds: None,
            log_at: None,
        };
        let fleet = Fleet { at: Timestamp(1_795_251_600_000), revision: 7, rows: vec![row; 8] };
        let page = page(&fleet, Some("<script>alert(1)</script>"), Some(5));
        assert!(!page.contains("<img") && !page.contains("<script>alert"), "{page}");
        assert_eq!(page.matches("&lt;img src=x onerror=&#39;a&#39;&gt;").count(), 5 + 8, "{page}");
        assert!(page.contains("and 3 more"), "{page}");
        assert!(page.contains(">2026-11-21 09:00:00 UTC</time>"), "{page}");
        assert!(page.contains("of 8 docks not known"), "{page}");
    }
}
