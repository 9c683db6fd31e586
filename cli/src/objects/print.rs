//! Objects on standard output: tables, YAML, JSON, differences.

use std::{io, time::Duration};

use narthex_model::{Timestamp, duration};
use narthex_objects::{Explained, Kind};
use narthex_proto::v1::{Object, ObjectResult, ObjectRevision};
use serde_json::{Value, json};

use super::full_name;
use crate::{flags::ObjectOutput, output::answer};

/// Lines around a difference.
const CONTEXT_LINES: usize = 3;
/// Lines of texts whose differences are looked for; longer ones are shown whole.
const DIFFERENCE_LINES_MAX: usize = 4000;

/// The whole object.
pub fn value(object: &Object) -> Value {
    serde_json::from_str(&object.json).unwrap_or(Value::Null)
}

/// A value as YAML.
pub fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("texts, numbers, lists and maps always serialise")
}

/// Objects in the form that is asked for.
pub fn objects(
    objects: &[Object],
    output: ObjectOutput,
    is_one: bool,
    now: Timestamp,
) -> io::Result<()> {
    let whole = || match is_one {
        true => value(&objects[0]),
        false => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": objects.iter().map(value).collect::<Vec<_>>(),
        }),
    };
    match output {
        ObjectOutput::Json => {
            let text = serde_json::to_string_pretty(&whole());
            answer(&text.expect("a value always serialises"))
        }
        ObjectOutput::Yaml => answer(yaml(&whole()).trim_end()),
        ObjectOutput::Name => objects.iter().try_for_each(|object| {
            let kind = Kind::of_word(&object.kind);
            answer(
                &kind.map_or_else(|_| object.name.clone(), |kind| kind.object_name(&object.name)),
            )
        }),
        ObjectOutput::Table => {
            let header = ["NAMESPACE", "KIND", "NAME", "REVISION", "OWNER", "IN FORCE", "AGE"];
            let mut rows = vec![header.map(str::to_owned).to_vec()];
            rows.extend(objects.iter().map(|object| row(object, now)));
            table(&rows)
        }
    }
}

fn row(object: &Object, now: Timestamp) -> Vec<String> {
    let age = now.millis_since(Timestamp::from_millis(object.created_ms)).max(0);
    let age = Duration::from_secs(age.unsigned_abs() / 1000);
    vec![
        object.namespace.clone(),
        object.kind.clone(),
        object.name.clone(),
        object.revision.to_string(),
        object.owner.clone(),
        in_force(object),
        duration::format(age),
    ]
}

/// What is made of an object, in a few words.
fn in_force(object: &Object) -> String {
    match (object.rejections.first(), object.jobs.len()) {
        (Some(reason), _) => format!("no: {reason}"),
        (None, 0) => String::new(),
        (None, 1) => "1 job".to_owned(),
        (None, jobs) => format!("{jobs} jobs"),
    }
}

/// Columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        answer(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// All that is known of an object.
pub fn describe(object: &Object) -> io::Result<()> {
    answer(&format!("Object:    {}", full_name(object)))?;
    answer(&format!("Owner:     {}", object.owner))?;
    answer(&format!("Revision:  {}", object.revision))?;
    facts(object)?;
    answer("")?;
    answer(yaml(&value(object)).trim_end())
}

/// What selects an object, and what is made of it.
pub fn facts(object: &Object) -> io::Result<()> {
    for line in &object.selection {
        answer(&format!("Selection: {line}"))?;
    }
    for reason in &object.rejections {
        answer(&format!("Rejected:  {reason}"))?;
    }
    for job in &object.jobs {
        answer(&format!("Job:       {job}"))?;
    }
    Ok(())
}

/// The targets of a job as `/api/v1/targets` tells them, and how many were dropped.
pub fn targets(found: &Value) -> io::Result<()> {
    let active = found["activeTargets"].as_array().map(Vec::as_slice).unwrap_or_default();
    for target in active {
        let text = |name: &str| target[name].as_str().unwrap_or_default();
        let error = match text("lastError") {
            "" => String::new(),
            error => format!(": {error}"),
        };
        answer(&format!("Target:    {} is {}{error}", text("scrapeUrl"), text("health")))?;
    }
    let dropped = found["droppedTargets"].as_array().map_or(0, Vec::len);
    if dropped > 0 || active.is_empty() {
        answer(&format!("Targets:   {} active, {dropped} dropped by relabelling", active.len()))?;
    }
    Ok(())
}

/// What was changed, oldest first.
pub fn history(revisions: &[ObjectRevision]) -> io::Result<()> {
    let header = ["REVISION", "TIME", "WHO", "ACTION", "OBJECT", "BEFORE", "NOTE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for entry in revisions {
        let name = entry.object.clone().unwrap_or_default();
        let object = Object {
            kind: name.kind,
            namespace: name.namespace,
            name: name.name,
            ..Object::default()
        };
        let time = jiff::Timestamp::from_millisecond(entry.time_ms);
        rows.push(vec![
            entry.revision.to_string(),
            time.map(|time| time.to_string()).unwrap_or_default(),
            entry.who.clone(),
            entry.action.clone(),
            full_name(&object),
            match entry.previous_revision {
                0 => String::new(),
                revision => revision.to_string(),
            },
            entry.note.clone(),
        ]);
    }
    table(&rows)
}

/// What a field may hold.
pub fn explained(kind: Kind, explained: &Explained) -> io::Result<()> {
    answer(&format!("KIND:     {kind}"))?;
    answer(&format!("VERSION:  {}", kind.api_versions().join(", ")))?;
    if !kind.short_name().is_empty() {
        answer(&format!("SHORT:    {}", kind.short_name()))?;
    }
    let required = if explained.is_required { ", required" } else { "" };
    answer(&format!("\nFIELD:    {}: {}{required}", explained.path, explained.of))?;
    if !explained.without_effect.is_empty() {
        answer(&format!("NO EFFECT: {}", explained.without_effect))?;
    }
    if explained.fields.is_empty() {
        return Ok(());
    }
    answer("\nFIELDS:")?;
    let rows: Vec<Vec<String>> =
        explained.fields.iter().map(|(name, of)| vec![format!("  {name}"), of.clone()]).collect();
    table(&rows)
}

/// What would change of an object, as `diff -u` has it.
pub fn difference(result: &ObjectResult) -> io::Result<()> {
    let text = |json: &str| {
        let mut value: Value = serde_json::from_str(json).unwrap_or(Value::Null);
        // What the cluster will say is no difference that anybody asked for.
        if let Some(metadata) = value["metadata"].as_object_mut() {
            for name in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
                metadata.remove(name);
            }
        }
        if value.is_null() { String::new() } else { yaml(&value) }
    };
    let (before, after) = (text(&result.before), text(&result.after));
    answer(&format!("--- {} ({})\n+++ {}", result.object, result.namespace, result.outcome))?;
    let (before, after) = (before.lines().collect::<Vec<_>>(), after.lines().collect::<Vec<_>>());
    let lines = changed_lines(&before, &after);
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT_LINES)..(at + CONTEXT_LINES + 1).min(lines.len());
        lines[around].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut is_apart = false;
    for (at, (sign, line)) in lines.iter().enumerate() {
        match near(at) {
            true => answer(&format!("{sign}{line}"))?,
            false if !is_apart => answer("@@")?,
            false => {}
        }
        is_apart = !near(at);
    }
    Ok(())
}

/// All lines of both, each with a sign: by the longest common run of lines.
fn changed_lines<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    if before.len() > DIFFERENCE_LINES_MAX || after.len() > DIFFERENCE_LINES_MAX {
        let gone = before.iter().map(|line| ('-', *line));
        return gone.chain(after.iter().map(|line| ('+', *line))).collect();
    }
    // `common[i][j]`: lines that the rests behind i and j have in common.
    let mut common = vec![vec![0u16; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] = match before[i] == after[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            lines.push((' ', before[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(('-', before[i]));
            i += 1;
        } else {
            lines.push(('+', after[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_marked_and_the_rest_is_kept() {
        let lines = changed_lines(&["a", "b", "c"], &["a", "x", "c", "d"]);
        assert_eq!(lines, [(' ', "a"), ('-', "b"), ('+', "x"), (' ', "c"), ('+', "d")]);
        assert_eq!(changed_lines(&[], &["a"]), [('+', "a")]);
        assert_eq!(changed_lines(&["a"], &[]), [('-', "a")]);
    }
}
