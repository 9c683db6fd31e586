//! `narthex cluster get` and `narthex cluster set`.

use std::io;

use narthex_proto::v1::{
    Setting, SettingsList, ShowSettingsRequest, settings_client::SettingsClient,
};
use serde_json::{Map, Value};

use crate::{
    client::{self, ClientError},
    flags::{GetArguments, Output, SetArguments},
    output::answer,
};

/// Why settings were not shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Put a value behind it.
    #[error("{0:?} is no NAME=VALUE, such as storage.tsdb.retention.time=30d")]
    NoValue(String),
    /// Ask for another one.
    #[error("there is no setting {name:?}, only {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Prints one setting, or all.
pub async fn get(arguments: &GetArguments) -> Result<(), SettingsError> {
    let mut client = SettingsClient::new(client::connect(&arguments.client.server).await?);
    let shown = client.show(ShowSettingsRequest {}).await.map_err(ClientError::from)?;
    let mut settings = shown.into_inner().settings;
    if let Some(name) = &arguments.name {
        let known = settings.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
        settings.retain(|setting| setting.name == *name);
        if settings.is_empty() {
            return Err(SettingsError::Unknown { name: name.clone(), known });
        }
    }
    print(settings, arguments).map_err(ClientError::from)?;
    Ok(())
}

/// Changes settings: all that are named, or none.
pub async fn set(arguments: &SetArguments) -> Result<(), SettingsError> {
    let settings: Result<Vec<Setting>, SettingsError> =
        arguments.settings.iter().map(|text| setting(text)).collect();
    let settings = SettingsList { settings: settings? };
    let mut client = SettingsClient::new(client::connect(&arguments.server).await?);
    client.change(settings).await.map_err(ClientError::from)?;
    Ok(())
}

fn setting(text: &str) -> Result<Setting, SettingsError> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| SettingsError::NoValue(text.to_owned()))?;
    Ok(Setting { name: name.to_owned(), value: value.to_owned() })
}

fn print(settings: Vec<Setting>, arguments: &GetArguments) -> io::Result<()> {
    match (arguments.client.output, &arguments.name) {
        (Output::Json, _) => {
            let pairs = settings.into_iter().map(|it| (it.name, Value::String(it.value)));
            answer(&Value::Object(pairs.collect::<Map<_, _>>()).to_string())
        }
        (Output::Table, Some(_)) => settings.iter().try_for_each(|it| answer(&it.value)),
        (Output::Table, None) => {
            settings.iter().try_for_each(|it| answer(&format!("{}={}", it.name, it.value)))
        }
    }
}
