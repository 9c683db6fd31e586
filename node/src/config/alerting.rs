//! The `alerting` section: the Alertmanagers outside the cluster that alerts are sent to.

use std::time::Duration;

use narthex_yaml::{Fields, Kind, Node, Problem, decode};

use super::{AlertingConfig, AlertmanagerConfig, Surroundings, client, job, relabel};

const GO_TYPE: &str = "config.plain";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the section.
pub(super) fn read(
    node: &Node,
    surroundings: &Surroundings<'_>,
) -> Result<AlertingConfig, Problem> {
    if node.kind == Kind::Null {
        return Ok(AlertingConfig::default());
    }
    let mut fields = Fields::open(node, GO_TYPE)?;
    let alert_relabel_configs = relabel::read(&mut fields, "alert_relabel_configs")?;
    let read = |node| alertmanager(node, surroundings);
    let alertmanagers = fields.read("alertmanagers", |node| decode::list(node, read))?;
    fields.finish()?;
    Ok(AlertingConfig { alert_relabel_configs, alertmanagers: alertmanagers.unwrap_or_default() })
}

fn alertmanager(
    node: &Node,
    surroundings: &Surroundings<'_>,
) -> Result<AlertmanagerConfig, Problem> {
    if node.kind == Kind::Null {
        return Err(Problem::at(node.line, "empty or null Alertmanager config section"));
    }
    let mut fields = Fields::open(node, GO_TYPE)?;
    if let Some(version) = fields.take("api_version") {
        match decode::text(version)?.as_str() {
            "" | "v2" => {}
            other => {
                let message =
                    format!("expected Alertmanager api version to be one of [v2] but got {other}");
                return Err(Problem::at(version.line, message));
            }
        }
    }
    let config = AlertmanagerConfig {
        scheme: job::text_or(&mut fields, "scheme", "http")?,
        path_prefix: job::text_or(&mut fields, "path_prefix", "")?,
        timeout: fields
            .read("timeout", decode::period)?
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(TIMEOUT),
        client: client::read(&mut fields, surroundings)?,
        static_configs: job::static_configs(&mut fields)?,
        file_sd_configs: job::file_sd_configs(&mut fields, surroundings)?,
        relabel_configs: relabel::read(&mut fields, "relabel_configs")?,
        alert_relabel_configs: relabel::read(&mut fields, "alert_relabel_configs")?,
    };
    if config.relabel_configs.is_empty() {
        job::check_addresses(&config.static_configs, node.line)?;
    }
    if fields.has("sigv4") {
        let message = "alertmanagers: key \"sigv4\" is not in force in this version of Narthex; \
                       remove it";
        return Err(Problem::at(node.line, message));
    }
    job::refuse_other_values(&mut fields, "alertmanagers")?;
    job::refuse_what_is_not_in_force(&fields, "alertmanagers")?;
    fields.finish()?;
    Ok(config)
}

/// Replaces the secrets by `<secret>`.
pub(super) fn redact(config: &mut AlertingConfig) {
    config.alertmanagers.iter_mut().for_each(|manager| client::redact(&mut manager.client));
}
