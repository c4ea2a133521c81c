//! What is shipped for monitors: the list of metrics, the alert rules, the dashboard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{address, busy_site, families, get};
use crate::support::dock::Finished;
use crate::support::scratch;
use crate::support::server::{Server, free_ports, is_open, start};
use crate::support::site::SOON;
use crate::support::tools::{Tool, needs};
use crate::support::wait_for;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap()
}

/// Each row of the list of metrics: name, type, labels, meaning.
fn rows() -> Vec<[String; 4]> {
    let manual = read("docs/metrics.md");
    let rows = manual.lines().filter(|line| line.starts_with("| `dockseal_"));
    let cells = |row: &str| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        [1, 2, 3, 4].map(|cell| cells[cell].trim_matches('`').to_owned())
    };
    rows.map(cells).collect()
}

/// The metrics that a text speaks of.
fn spoken_of(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    words.filter(|word| word.starts_with("dockseal_")).map(str::to_owned).collect()
}

#[test]
fn the_list_of_metrics_is_what_is_served() {
    let mut site = busy_site();
    let text = get(&address(&site.dock), "/metrics").body;
    let served: Vec<_> = families(&text).into_iter().collect();
    let mut listed: Vec<_> =
        rows().into_iter().map(|[name, kind, _, meaning]| (name, (kind, meaning))).collect();
    listed.sort();
    assert_eq!(listed, served);
    let mut seen = 0;
    for [name, _, labels, _] in rows() {
        let sample = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix('{'));
        if let Some((has, _)) = sample.and_then(|sample| sample.split_once('}')) {
            let names = has.split(',').map(|label| label.split('=').next().unwrap());
            assert_eq!(names.collect::<Vec<_>>().join(", "), labels, "{name}");
            seen += 1;
        } else if text.lines().any(|line| line.starts_with(&format!("{name} "))) {
            assert_eq!(labels, "", "{name}");
        }
    }
    assert!(seen > 10, "{seen} have labels");
    assert_eq!(site.dock.stop(), 0);
}

/// The rules, one text each.
fn alerts() -> Vec<(String, String)> {
    let text = read("monitoring/alerts.yml");
    let rules = text.split("- alert: ").skip(1);
    let alerts: Vec<_> =
        rules.map(|rule| (rule.lines().next().unwrap().to_owned(), rule.to_owned())).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    alerts
}

#[test]
fn alerts_speak_of_what_there_is_and_say_what_to_do() {
    let known: BTreeSet<_> = rows().into_iter().map(|[name, ..]| name).collect();
    for text in [read("monitoring/alerts.yml"), read("monitoring/grafana.json")] {
        let unknown: Vec<_> = spoken_of(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
    }
    for (name, rule) in alerts() {
        for what in ["expr: ", "labels: {severity: ", "summary: ", "description: ", "command: "] {
            assert_eq!(rule.matches(what).count(), 1, "{name}: {what}");
        }
    }
}

fn test_rules(alerts: &str) -> Finished {
    let dir = scratch();
    std::fs::write(dir.path().join("alerts.yml"), alerts).unwrap();
    let tests = dir.path().join("alerts.test.yml");
    std::fs::copy(shipped("monitoring/alerts.test.yml"), &tests).unwrap();
    let mut promtool = Command::new(Tool::Promtool.path());
    Finished::new(promtool.args(["test", "rules"]).arg(tests).output().unwrap())
}

#[test]
fn alerts_fire_when_they_should_and_each_of_them_is_tested() {
    needs!(Promtool);
    let rules = shipped("monitoring/alerts.yml");
    let mut check = Command::new(Tool::Promtool.path());
    Finished::new(check.args(["check", "rules"]).arg(rules).output().unwrap()).expect_code(0);
    let text = read("monitoring/alerts.yml");
    test_rules(&text).expect_code(0);
    // Each expectation names all alerts that fire: one that is expected somewhere neither sleeps
    // there, nor cries wolf elsewhere.
    let tests = read("monitoring/alerts.test.yml");
    for (name, _) in alerts() {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} never fires in a test");
    }
    let wrongs = [("> 4 * 3600", "> 5 * 3600"), ("dockseal_log_forked == 1", "vector(1)")];
    for (right, wrong) in wrongs {
        let broken = text.replacen(right, wrong, 1);
        assert_ne!(broken, text);
        assert_ne!(test_rules(&broken).code, 0, "nobody notices {wrong}");
    }
}

/// A Prometheus that asks a dock each second, and knows our rules.
struct Prometheus {
    _server: Server,
    address: String,
}

impl Prometheus {
    fn start(dock: &str) -> Prometheus {
        let rules = shipped("monitoring/alerts.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: dockseal\n\
             \x20   static_configs: [{{targets: [\"{dock}\"]}}]\n",
            rules.display()
        );
        start(|data| {
            let [port] = free_ports();
            let address = format!("127.0.0.1:{port}");
            let file = data.join("prometheus.yml");
            std::fs::write(&file, &config).unwrap();
            let server = Server::start(data, &Tool::Prometheus.path(), |command| {
                command.arg(format!("--config.file={}", file.display()));
                command.arg(format!("--storage.tsdb.path={}", data.join("tsdb").display()));
                command.arg(format!("--web.listen-address={address}"));
            });
            let is_ready = || is_open(&address) && get(&address, "/-/ready").status == 200;
            server.wait_until("Prometheus", SOON, is_ready)?;
            Ok(Prometheus { _server: server, address })
        })
    }

    fn api(&self, path: &str) -> Value {
        let answer = get(&self.address, &format!("/api/v1/{path}"));
        // A small answer comes in one chunk or none.
        let body =
            &answer.body[answer.body.find('{').unwrap_or(0)..=answer.body.rfind('}').unwrap_or(0)];
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
    }

    /// How many series an expression gives now.
    fn series(&self, expr: &str) -> Result<usize, String> {
        let query: String = url::form_urlencoded::byte_serialize(expr.as_bytes()).collect();
        let said = self.api(&format!("query?query={query}"));
        match said["status"].as_str() {
            Some("success") => Ok(said["data"]["result"].as_array().unwrap().len()),
            _ => Err(said["error"].to_string()),
        }
    }
}

/// Every query of the dashboard, with what Grafana fills in.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let fill = |target: &Value| {
        let expr = target["expr"].as_str().unwrap();
        expr.replace("$instance", ".*").replace("$__rate_interval", "1m")
    };
    targets.map(fill).collect()
}

#[test]
fn a_real_prometheus_takes_figures_rules_and_every_query_of_the_dashboard() {
    needs!(Prometheus, Promtool, Setpriv);
    let mut site = busy_site();
    let prometheus = Prometheus::start(&address(&site.dock));
    let asked = || prometheus.series("count_over_time(dockseal_up[1m]) > 2") == Ok(1);
    wait_for("three figures of one dock", SOON, || asked().then_some(()));
    let queries = queries();
    assert!(queries.len() > 15, "{queries:?}");
    for query in queries {
        assert!(!query.contains('$'), "{query}");
        let series = prometheus.series(&query);
        assert!(series.as_ref().is_ok_and(|count| *count > 0), "{query}: {series:?}");
    }
    assert!(prometheus.series("sum(").is_err() && prometheus.series("dockseal_ups") == Ok(0));
    let rules = prometheus.api("rules");
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), alerts().len());
    let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] == "err").collect();
    assert!(ill.is_empty(), "{ill:?}");
    // The link in the watch folder waits for somebody, and that somebody is told.
    wait_for("the alert", SOON, || {
        let pending = "ALERTS{alertname=\"DocksealClipNeedsOperator\"}";
        (prometheus.series(pending) == Ok(1)).then_some(())
    });
    assert_eq!(site.dock.stop(), 0);
    wait_for("the dock to be missed", SOON, || {
        (prometheus.series("up{job=\"dockseal\"} == 0") == Ok(1)).then_some(())
    });
}
