//! Figures as Prometheus text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What this text is. <https://prometheus.io/docs/instrumenting/exposition_formats>
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a figure moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only up; its name lacks `_total`, which the text adds.
    Counter,
    /// Up and down.
    Gauge,
}

/// One family: its name with unit, what it means, and its samples.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample>,
}

/// A value and what it is of. Labels come from short closed lists: never a path, nor a clip.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: i64,
}

#[derive(Debug)]
struct Sheet(Vec<Figure>);

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Figure { name, help, kind, samples } in &self.0 {
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            match samples.as_slice() {
                [sample] if sample.labels.is_empty() => put(*kind, sample.value, family)?,
                samples => samples.iter().try_for_each(|Sample { labels, value }| {
                    put(*kind, *value, family.encode_family(labels)?)
                })?,
            }
        }
        Ok(())
    }
}

fn put(kind: Kind, value: i64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(u64::try_from(value).unwrap_or(0)).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

/// The text of some figures.
pub(super) fn text(figures: Vec<Figure>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Sheet(figures)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all");
    in_older_format(&text)
}

/// node_exporter and promtool read the format before OpenMetrics, as Prometheus does too. In it the
/// family of a counter has the `_total` of its samples, and there is no last line.
fn in_older_format(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut older = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let about = ["# HELP ", "# TYPE "].into_iter().find(|about| line.starts_with(about));
        match about.and_then(|about| Some((about, line[about.len()..].split_once(' ')?))) {
            Some((about, (name, rest))) if counters.contains(&name) => {
                older.push_str(&format!("{about}{name}_total {rest}"));
            }
            Some(_) | None => older.push_str(line),
        }
        older.push('\n');
    }
    older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_the_text_that_every_monitor_reads() {
        let sample = |labels: &[(&'static str, &str)], value| Sample {
            labels: labels.iter().map(|(name, of)| (*name, (*of).to_owned())).collect(),
            value,
        };
        let figure = |name, kind, samples| Figure { name, help: "What it is", kind, samples };
        let said = text(vec![
            figure("a_up", Kind::Gauge, vec![sample(&[], 1)]),
            figure("a_sent", Kind::Counter, vec![sample(&[("b", "x\"\\\n")], 7)]),
            figure("a_age_seconds", Kind::Gauge, vec![]),
            figure("a_off_seconds", Kind::Gauge, vec![sample(&[("b", "x")], -3)]),
        ]);
        let expected = [
            "# HELP a_up What it is",
            "# TYPE a_up gauge",
            "a_up 1",
            "# HELP a_sent_total What it is",
            "# TYPE a_sent_total counter",
            "a_sent_total{b=\"x\\\"\\\\\\n\"} 7",
            "# HELP a_age_seconds What it is",
            "# TYPE a_age_seconds gauge",
            "# HELP a_off_seconds What it is",
            "# TYPE a_off_seconds gauge",
            "a_off_seconds{b=\"x\"} -3",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    }
}
