//! `/api/v1/notifications`, and the same as server-sent events: what people should know of this
//! process, in Prometheus's words.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{StatusCode, header};
use narthex_model::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::targets::rfc3339;
use crate::{
    ConfigStatus, Querier,
    answer::{Remarks, success},
    json::{Json, Sink},
};

/// Who may listen at the same time, as in Prometheus.
pub const LISTENERS_MAX: usize = 16;

/// What is said of a configuration that could not be loaded.
const CONFIG_REFUSED: &str = "Configuration reload has failed.";

/// Something that holds since a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Notification {
    text: &'static str,
    since: Timestamp,
}

/// What holds now.
fn current(config: &ConfigStatus) -> Option<Notification> {
    let refused = Notification { text: CONFIG_REFUSED, since: config.problem_since };
    (!config.problem.is_empty()).then_some(refused)
}

fn write<S: Sink>(json: &mut Json<S>, told: Notification, is_active: bool) {
    json.element().raw("{").name("text").text(told.text);
    json.name("date").text(&rfc3339(told.since.millis()));
    json.name("active").boolean(is_active).raw("}");
}

pub(super) fn list(api: &Querier) -> Response {
    let current = current(&api.options.config.borrow());
    success(&Remarks::default(), |json| {
        json.raw("[");
        if let Some(told) = current {
            write(json, told, true);
        }
        json.raw("]");
    })
}

/// Events, from what holds now on, until the client goes away.
pub(super) fn live(api: &Querier) -> Response {
    let Ok(place) = Arc::clone(&api.listeners).try_acquire_owned() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let mut config = api.options.config.clone();
    config.mark_changed();
    let events = stream::unfold(Live { config, told: None, _place: place }, Live::next);
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (head, Body::from_stream(events.map(Ok::<_, Infallible>))).into_response()
}

struct Live {
    config: watch::Receiver<ConfigStatus>,
    /// What the client was told that holds.
    told: Option<Notification>,
    _place: OwnedSemaphorePermit,
}

impl Live {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            self.config.changed().await.ok()?;
            let current = current(&self.config.borrow_and_update());
            let told = std::mem::replace(&mut self.told, current);
            if told == current {
                continue;
            }
            let mut events = Vec::new();
            for (one, is_active) in [(told, false), (current, true)] {
                if let Some(one) = one {
                    events.extend(event(one, is_active));
                }
            }
            return Some((events.into(), self));
        }
    }
}

fn event(told: Notification, is_active: bool) -> Vec<u8> {
    let mut json = Json::new(Vec::<Bytes>::new());
    write(&mut json, told, is_active);
    [b"data: ", &json.finish().concat()[..], b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_hear_of_changes() {
        let config = watch::Sender::new(ConfigStatus::default());
        let live = |listeners: &Arc<tokio::sync::Semaphore>| {
            let mut config = config.subscribe();
            config.mark_changed();
            let place = Arc::clone(listeners).try_acquire_owned().expect("free");
            Live { config, told: None, _place: place }
        };
        let listeners = Arc::new(tokio::sync::Semaphore::new(1));
        let listener = live(&listeners);
        config.send_modify(|status| status.fail("x".to_owned(), Timestamp::from_millis(1_500)));
        let (event, listener) = listener.next().await.expect("an event");
        let refused = |active: bool| {
            format!(
                "data: {{\"text\":\"{CONFIG_REFUSED}\",\"date\":\"1970-01-01T00:00:01.5Z\",\
                 \"active\":{active}}}\n\n"
            )
        };
        assert_eq!(event, refused(true));
        config.send_modify(|status| status.problem.clear());
        let (event, listener) = listener.next().await.expect("an event");
        assert_eq!(event, refused(false));
        assert_eq!(listeners.available_permits(), 0);
        drop(listener);
        assert_eq!(listeners.available_permits(), 1);
    }
}
