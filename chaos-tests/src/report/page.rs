//! The page: one file that needs nothing else.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;\
padding:0 1em;color:#222}h2{margin:2em 0 .3em}table{border-collapse:collapse;margin:.5em 0}\
td,th{text-align:left;padding:.15em .8em .15em 0;vertical-align:top;border-bottom:1px solid #ddd}\
pre{margin:0;white-space:pre-wrap;font-size:12px}.pass{color:#161}.fail{color:#b00;\
font-weight:bold}.unknown{color:#a60;font-weight:bold}.skipped{color:#666}code{background:#f4f4f4}\
svg{width:100%;height:90px;background:#fafafa}";
const WANTED: &str = "Wanted: behind the end of a leader writes go on within 1500 ms (p50) and \
3000 ms (p99), behind a planned restart within 300 ms; where a node ends, at most one scrape of a \
target is missed at intervals of 5 s and more; nothing that was acknowledged is lost.";
/// Of the picture, in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 90.0;

/// Renders what `report.json` has.
pub fn page(reports: &Value) -> String {
    let scenarios = reports["scenarios"].as_array().map_or(&[][..], Vec::as_slice);
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Narthex under faults</title>\
         <style>{STYLE}</style><h1>Narthex under faults</h1><p>{WANTED}<table><tr>\
         <th>scenario<th>verdict<th>what happens<th>seed"
    );
    for it in scenarios {
        let (id, verdict) = (text(&it["id"]), text(&it["verdict"]));
        let title = text(if it["title"].is_null() { &it["reason"] } else { &it["title"] });
        add(
            &mut html,
            format_args!(
                "<tr><td><a href=\"#{id}\">{id}</a><td class={verdict}>{verdict}<td>{title}<td>{}",
                text(&it["seed"])
            ),
        );
    }
    html.push_str("</table>");
    scenarios.iter().filter(|it| !it["findings"].is_null()).for_each(|it| scenario(&mut html, it));
    html
}

fn add(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a string takes everything");
}

/// A value as text that means nothing in HTML.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn scenario(html: &mut String, it: &Value) {
    let verdict = text(&it["verdict"]);
    add(
        html,
        format_args!(
            "<h2 id=\"{0}\">{0}: {1}, <span class={verdict}>{verdict}</span></h2><p>{2} nodes, {3} \
         shards, {4} s of faults, {5} s in all. Again: <code>{6}</code>",
            text(&it["id"]),
            text(&it["title"]),
            text(&it["nodes"]),
            text(&it["shards"]),
            text(&it["seconds"]),
            text(&it["tookSeconds"]),
            text(&it["again"])
        ),
    );
    if !it["kept"].is_null() {
        add(html, format_args!("<p>Logs and journals: <code>{}</code>", text(&it["kept"])));
    }
    picture(html, it);
    let rows = ["check", "question", "verdict", "detail"];
    table(html, &it["findings"], &rows);
    table(html, &it["recovery"], &["kind", "count", "p50Millis", "p99Millis", "maxMillis"]);
    let faults = [
        "atMillis",
        "healedMillis",
        "fault",
        "victims",
        "nodes",
        "groupsLed",
        "resumedMillis",
        "stalledMillis",
        "effect",
        "problem",
    ];
    table(html, &it["faults"], &faults);
    add(html, format_args!("<pre>{}</pre>", text(&it["load"])));
}

fn table(html: &mut String, rows: &Value, columns: &[&str]) {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return;
    }
    html.push_str("<table><tr>");
    columns.iter().for_each(|column| add(html, format_args!("<th>{column}")));
    for row in rows {
        html.push_str("<tr>");
        for column in columns {
            let value = text(&row[column]);
            match *column {
                "verdict" => add(html, format_args!("<td class={value}>{value}")),
                _ => add(html, format_args!("<td><pre>{value}</pre>")),
            }
        }
    }
    html.push_str("</table>");
}

/// Acknowledged batches over time, and the faults behind them.
fn picture(html: &mut String, it: &Value) {
    let counts: Vec<f64> =
        it["acknowledgements"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let highest = counts.iter().copied().fold(1.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "runs are short")]
    let (width, quarters) = (WIDTH / counts.len().max(1) as f64, counts.len() as f64);
    let x = |millis: &Value| millis.as_f64().unwrap_or(quarters * 250.0) / 250.0 * width;
    add(html, format_args!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=none>"));
    for fault in it["faults"].as_array().into_iter().flatten() {
        let (from, to) = (x(&fault["atMillis"]), x(&fault["healedMillis"]));
        add(
            html,
            format_args!(
                "<rect x={from:.1} y=0 width={:.1} height={HEIGHT} fill=\"#c22\" opacity=.2><title>{} \
             {}</title></rect>",
                (to - from).max(1.0),
                text(&fault["fault"]),
                text(&fault["nodes"])
            ),
        );
    }
    let mut at = 0.0;
    for count in counts {
        let height = count / highest * HEIGHT;
        add(
            html,
            format_args!(
                "<rect x={at:.1} y={:.1} width={width:.2} height={height:.1} fill=\"#357\"/>",
                HEIGHT - height
            ),
        );
        at += width;
    }
    html.push_str("</svg>");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_shows_verdicts_and_escapes_what_was_said() {
        let finding = json!({ "check": "K2", "verdict": "fail", "detail": "<b> & \"c\"" });
        let run = json!({ "id": "C01", "verdict": "fail", "findings": [finding],
            "acknowledgements": [3, 0, 5], "faults": [{ "atMillis": 100, "healedMillis": 400 }] });
        let skipped = json!({ "id": "C08", "verdict": "skipped", "reason": "no loop devices" });
        let page = page(&json!({ "scenarios": [run, skipped] }));
        for part in ["class=fail>fail", "&lt;b> &amp; &quot;c&quot;", "no loop devices", "<svg"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
