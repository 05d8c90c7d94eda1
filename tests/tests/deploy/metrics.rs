//! Dashboards and alert rules against the metrics that a running controller shows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use compat::originals::promql;
use serde_json::Value;

use crate::harness::*;

/// Checks every query of dashboards and rules: the parser of Prometheus reads it, and the metrics, their labels and what is
/// grouped by are shown by the half that it is for.
pub(crate) fn every_query_is_answered(sealed: &str, external: &str) -> Result<()> {
    let mut count = 0;
    for (file, metrics) in [
        ("dashboards/sealed-secrets-controller.json", sealed),
        ("rules/sealed.yaml", sealed),
        ("dashboards/external-secrets.json", external),
        ("rules/external.yaml", external),
    ] {
        let shown = series(metrics);
        let queries = queries(file)?;
        ensure!(queries.len() > 2, "{file}: {} queries", queries.len());
        count += queries.len();
        let parsed = promql()?
            .input(serde_json::to_vec(&queries)?)
            .ok()?
            .json()?;
        for (query, parsed) in queries.iter().zip(parsed.as_array().context("a list")?) {
            answered(parsed, &shown).with_context(|| format!("{file}: {query}"))?;
        }
    }
    println!(
        "verified: {count} queries of dashboards and alert rules are read by Prometheus' parser and answered by /metrics"
    );
    Ok(())
}

fn answered(parsed: &Value, shown: &Series) -> Result<()> {
    ensure!(parsed["error"].is_null(), "{}", parsed["error"]);
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut labels = BTreeSet::new();
    for selector in parsed["selectors"].as_array().context("selectors")? {
        let metric = selector["metric"].as_str().context("metric")?;
        let has = shown
            .get(metric)
            .with_context(|| format!("{metric} is not shown; there are {:?}", shown.keys()))?;
        for label in words(&selector["labels"]) {
            let values = has.get(&label);
            let values = values.with_context(|| format!("{metric} has no label {label}"))?;
            if let Some(value) = selector["equal"][&label].as_str() {
                ensure!(
                    values.contains(value),
                    "{metric} has no {label}={value}, but {values:?}"
                );
            }
        }
        labels.extend(has.keys().cloned());
    }
    for group in words(&parsed["groups"]) {
        ensure!(labels.contains(&group), "nothing has the label {group}");
    }
    Ok(())
}

/// The queries of a dashboard or a file of rules, with Grafana's variables filled in.
fn queries(file: &str) -> Result<Vec<String>> {
    let path = ours().join(file);
    let content = yaml(&path)?;
    let mut found = Vec::new();
    for group in content["groups"].as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().context("rules")? {
            for field in ["alert", "for", "labels", "annotations"] {
                ensure!(!rule[field].is_null(), "{rule} has no {field}");
            }
            found.push(rule["expr"].as_str().context("expr")?.to_owned());
        }
    }
    for panel in content["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().context("targets")? {
            found.push(target["expr"].as_str().context("expr")?.to_owned());
        }
    }
    for variable in content["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let (metric, label) = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
            .with_context(|| format!("not a query of a variable: {query}"))?;
        found.push(format!("count by ({label}) ({metric})"));
    }
    let fill = |query: String| {
        query
            .replace("$__rate_interval", "5m")
            .replace("$namespace", ".*")
    };
    Ok(found.into_iter().map(fill).collect())
}

/// Metrics, their labels, and the values of these.
type Series = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Reads an OpenMetrics text.
fn series(text: &str) -> Series {
    let mut all = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name: String = line.chars().take_while(|it| !"{ ".contains(*it)).collect();
        let labels = all.entry(name).or_default();
        // Values hold no quotes: they are names of objects.
        let pieces: Vec<_> = line.split('"').collect();
        for pair in pieces.chunks_exact(2) {
            let label = pair[0].trim_start_matches(|it| it != '{' && it != ',');
            let label = label.trim_start_matches(['{', ',']).trim_end_matches('=');
            labels
                .entry(label.to_owned())
                .or_default()
                .insert(pair[1].to_owned());
        }
    }
    all
}

#[test]
fn series_are_read() {
    let shown = series("# HELP x\na_total 1\nb{x=\"1\",yz=\"a,b\"} 2\nb{x=\"2\"} 2\n");
    let b: Vec<_> = shown["b"]
        .iter()
        .map(|(label, values)| (&**label, values.len()))
        .collect();
    assert_eq!(b, [("x", 2), ("yz", 1)]);
    assert!(shown["b"]["yz"].contains("a,b"));
    assert!(shown["a_total"].is_empty());
}
