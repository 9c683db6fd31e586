//! `relabel_configs` and `metric_relabel_configs`, checked as Prometheus checks them.

use narthex_model::Regex;
use narthex_yaml::{Fields, Node, Problem, decode};

use super::{RelabelAction, RelabelConfig};

/// Takes the list of rules under `key`.
pub(super) fn read(fields: &mut Fields<'_>, key: &str) -> Result<Vec<RelabelConfig>, Problem> {
    Ok(fields.read(key, |node| decode::list(node, rule))?.unwrap_or_default())
}

/// Reads and checks one rule.
pub(super) fn rule(node: &Node) -> Result<RelabelConfig, Problem> {
    let default = RelabelConfig::default();
    let mut fields = Fields::open(node, "relabel.plain")?;
    let source_labels = fields.read("source_labels", |node| decode::list(node, decode::text))?;
    let rule = RelabelConfig {
        source_labels: source_labels.unwrap_or_default(),
        separator: fields.read("separator", decode::text)?.unwrap_or(default.separator),
        regex: fields.read("regex", decode::text)?.unwrap_or(default.regex),
        modulus: fields.read("modulus", decode::count)?.unwrap_or(0),
        target_label: fields.read("target_label", decode::text)?.unwrap_or_default(),
        replacement: fields.read("replacement", decode::text)?.unwrap_or(default.replacement),
        action: fields.read("action", action)?.unwrap_or(default.action),
    };
    fields.finish()?;
    Regex::new(&rule.regex).map_err(|error| Problem::at(node.line, error.to_string()))?;
    check(&rule).map_err(|message| Problem::at(node.line, message))?;
    Ok(rule)
}

fn action(node: &Node) -> Result<RelabelAction, Problem> {
    let text = decode::text(node)?;
    let known = ACTIONS.iter().find(|(_, name)| text.eq_ignore_ascii_case(name));
    let known = known.map(|(action, _)| *action);
    known.ok_or_else(|| Problem::at(node.line, format!("unknown relabel action {text:?}")))
}

const ACTIONS: [(RelabelAction, &str); 11] = [
    (RelabelAction::Replace, "replace"),
    (RelabelAction::Keep, "keep"),
    (RelabelAction::Drop, "drop"),
    (RelabelAction::KeepEqual, "keepequal"),
    (RelabelAction::DropEqual, "dropequal"),
    (RelabelAction::HashMod, "hashmod"),
    (RelabelAction::LabelMap, "labelmap"),
    (RelabelAction::LabelDrop, "labeldrop"),
    (RelabelAction::LabelKeep, "labelkeep"),
    (RelabelAction::Lowercase, "lowercase"),
    (RelabelAction::Uppercase, "uppercase"),
];

fn name_of(action: RelabelAction) -> &'static str {
    let found = ACTIONS.iter().find(|(known, _)| *known == action);
    found.map(|(_, name)| *name).expect("every action is listed")
}

impl RelabelAction {
    /// As files have it.
    pub fn name(self) -> &'static str {
        name_of(self)
    }
}

/// The combinations of keys that an action allows.
fn check(rule: &RelabelConfig) -> Result<(), String> {
    use RelabelAction::{
        DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace,
        Uppercase,
    };
    let default = RelabelConfig::default();
    let action = rule.action;
    let name = name_of(action);
    let writes_target = matches!(action, Replace | HashMod | Lowercase | Uppercase)
        || matches!(action, KeepEqual | DropEqual);
    if rule.modulus == 0 && action == HashMod {
        return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
    }
    if writes_target && rule.target_label.is_empty() {
        return Err(format!(
            "relabel configuration for {name} action requires 'target_label' value"
        ));
    }
    if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual)
        && rule.replacement != default.replacement
    {
        return Err(format!("'replacement' can not be set for {name} action"));
    }
    if action == LabelMap && rule.replacement.is_empty() {
        return Err(format!("{:?} is invalid 'replacement' for {name} action", rule.replacement));
    }
    let untouched = |with_regex: bool| {
        (with_regex || rule.regex == default.regex)
            && rule.modulus == default.modulus
            && rule.separator == default.separator
            && rule.replacement == default.replacement
    };
    if matches!(action, KeepEqual | DropEqual) && !untouched(false) {
        return Err(format!(
            "{name} action requires only 'source_labels' and `target_label`, and no other fields"
        ));
    }
    if matches!(action, LabelDrop | LabelKeep)
        && !(untouched(true) && rule.source_labels.is_empty() && rule.target_label.is_empty())
    {
        return Err(format!("{name} action requires only 'regex', and no other fields"));
    }
    Ok(())
}
