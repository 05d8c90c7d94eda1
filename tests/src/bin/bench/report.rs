//! What was measured, as tables or as JSON, and the targets that were missed.

use std::time::Duration;

use serde_json::json;

use crate::cases::Row;
use crate::growth::{Growth, TARGET};

/// Says of each case that missed its target what it was; `verify.sh` looks for the first word.
pub(crate) fn missed(rows: &[Row], growth: &[Growth]) -> Vec<String> {
    let compared = rows.iter().filter(|row| !row.target.is_met(row)).map(|row| {
        let calls = row.calls.map_or_else(String::new, |(ours, theirs)| {
            format!(", {ours} calls against {theirs}")
        });
        format!(
            "MISSED: {}: {:.1} ms, {:.1} times as fast as sops, peak {:.1} MiB against {:.1} MiB{calls}; the target is {} \
             and a lower peak",
            row.name,
            milliseconds(row.selkie.time),
            row.ratio(),
            mebibytes(row.selkie.peak_kib),
            mebibytes(row.sops.peak_kib),
            row.target.text(),
        )
    });
    let grown = growth.iter().filter(|row| !row.is_met()).map(|row| {
        format!(
            "MISSED: {}: a key among 100,000 costs {:.2} times what it costs among 1,000; the target is {TARGET} times",
            row.name,
            row.ratio()
        )
    });
    compared.chain(grown).collect()
}

pub(crate) fn print_tables(rows: &[Row], growth: &[Growth], floor: i64) {
    println!(
        "| case | runs | selkie | sops 3.13.3 | times as fast | target | peak selkie | peak sops | calls | met |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!(
            "| {} | {} | {:.1} ms | {:.1} ms | {:.1} | {} | {:.1} MiB | {:.1} MiB | {} | {} |",
            row.name,
            row.runs,
            milliseconds(row.selkie.time),
            milliseconds(row.sops.time),
            row.ratio(),
            row.target.text(),
            mebibytes(row.selkie.peak_kib),
            mebibytes(row.sops.peak_kib),
            row.calls
                .map_or_else(String::new, |(ours, theirs)| format!("{ours}, {theirs}")),
            yes(row.target.is_met(row)),
        );
    }
    println!(
        "\nMedians, in turns on one machine; process start included. Peaks below {:.1} MiB cannot be seen. Calls: ours, theirs.",
        mebibytes(floor)
    );
    if growth.is_empty() {
        return;
    }
    println!(
        "\n| selkie alone | 1,000 keys | 10,000 | 100,000 | cost of a key, 100,000 to 1,000 | target | peak | met |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in growth {
        let [small, middle, large] = row.times.map(milliseconds);
        println!(
            "| {} | {small:.1} ms | {middle:.1} ms | {large:.1} ms | {:.2} | at most {TARGET} | {:.1} MiB | {} |",
            row.name,
            row.ratio(),
            mebibytes(row.peak_kib),
            yes(row.is_met()),
        );
    }
    println!("\nMedians without the time of `selkie --version`; 1 would be exactly linear.");
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "no" }
}

pub(crate) fn print_json(rows: &[Row], growth: &[Growth], floor: i64) {
    let cases: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.name,
                "runs": row.runs,
                "selkie": {"median_ms": milliseconds(row.selkie.time), "peak_kib": row.selkie.peak_kib},
                "sops": {"median_ms": milliseconds(row.sops.time), "peak_kib": row.sops.peak_kib},
                "ratio": row.ratio(),
                "calls": row.calls.map(|(ours, theirs)| json!({"selkie": ours, "sops": theirs})),
                "target": row.target.text(),
                "met": row.target.is_met(row),
            })
        })
        .collect();
    let growth: Vec<_> = growth
        .iter()
        .map(|row| {
            json!({
                "case": row.name,
                "median_ms": row.times.map(milliseconds),
                "cost_ratio": row.ratio(),
                "peak_kib": row.peak_kib,
                "target": TARGET,
                "met": row.is_met(),
            })
        })
        .collect();
    println!(
        "{:#}",
        json!({"cases": cases, "growth": growth, "peak_floor_kib": floor})
    );
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "kibibytes of a process fit")]
fn mebibytes(kib: i64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Target;
    use crate::measure::Measured;

    fn row(milliseconds: u64, peak_kib: i64, target: Target) -> Row {
        let measured = |milliseconds, peak_kib| Measured {
            time: Duration::from_millis(milliseconds),
            peak_kib,
        };
        Row {
            name: "case".to_owned(),
            runs: 1,
            selkie: measured(milliseconds, peak_kib),
            sops: measured(100, 200_000),
            calls: Some((1, 1)),
            target,
        }
    }

    fn growth(large: u64) -> Growth {
        Growth {
            name: "case".to_owned(),
            times: [10, 100, large].map(Duration::from_millis),
            peak_kib: 1,
        }
    }

    #[test]
    fn a_missed_target_is_told() {
        let below = Target::Below(Duration::from_millis(5));
        let faster = Target::TimesFaster(5.0);
        let within = Target::TimesFasterWithin(5.0, 100);
        let calls = Target::NoMoreCalls;
        let more_calls = Row {
            calls: Some((2, 1)),
            ..row(20, 999, calls)
        };
        let met = [
            row(4, 999, below),
            row(20, 999, faster),
            row(20, 99 << 10, within),
            row(100, 999, calls),
        ];
        assert!(missed(&met, &[growth(1_500)]).is_empty());
        for wrong in [
            row(5, 999, below),
            row(21, 999, faster),
            row(20, 200_000, faster),
            row(20, 100 << 10, within),
            row(101, 999, calls),
            more_calls,
        ] {
            let lines = missed(&[row(20, 999, faster), wrong], &[]);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].starts_with("MISSED: case: "), "{}", lines[0]);
        }
        let lines = missed(&[], &[growth(1_501)]);
        assert!(lines[0].starts_with("MISSED: case: "), "{lines:?}");
    }
}
