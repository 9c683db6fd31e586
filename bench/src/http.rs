//! Calls to one server, each with a deadline.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::unmeasured::Unmeasured;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// What of a refusal is kept to show.
const REFUSAL_CHARS_MAX: usize = 300;

/// One server. Connects when first asked, and keeps its connection.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
    base: String,
}

impl Http {
    /// `base` is the URL in front of every path.
    pub fn new(base: &str, deadline: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(deadline))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), base: base.to_owned() }
    }

    /// The body of a successful GET.
    pub fn text(&self, path: &str) -> Result<String, Unmeasured> {
        let url = format!("{}{path}", self.base);
        let answer = self.agent.get(&url).call();
        text_of(url, answer)
    }

    /// The body of a successful POST of nothing.
    pub fn post(&self, path: &str) -> Result<String, Unmeasured> {
        let url = format!("{}{path}", self.base);
        let answer = self.agent.post(&url).send_empty();
        text_of(url, answer)
    }

    /// The `data` of a query, with its size in bytes.
    pub fn query(&self, path: &str, form: &[(&str, String)]) -> Result<Value, Unmeasured> {
        let url = format!("{}{path}", self.base);
        let form = form.iter().map(|(name, value)| (*name, value.as_str()));
        let answer = self.agent.post(&url).send_form(form);
        let text = text_of(url, answer)?;
        let mut answer: Value = serde_json::from_str(&text)
            .map_err(|error| Unmeasured::Absent(format!("{path}: {error}")))?;
        Ok(answer["data"].take())
    }

    /// Sends a request of remote write 1.0.
    pub fn write(&self, path: &str, compressed: &[u8]) -> Result<(), Unmeasured> {
        let url = format!("{}{path}", self.base);
        let answer = self
            .agent
            .post(&url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .send(compressed);
        text_of(url, answer).map(|_| ())
    }
}

fn text_of(
    url: String,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String, Unmeasured> {
    let failed = |source, url| Unmeasured::Call { url, source: Box::new(source) };
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(source) => return Err(failed(source, url)),
    };
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = match body {
        Ok(body) => body,
        Err(source) => return Err(failed(source, url)),
    };
    if answer.status().is_success() {
        return Ok(body);
    }
    let body = body.chars().take(REFUSAL_CHARS_MAX).collect();
    Err(Unmeasured::Refused { url, status: answer.status().as_u16(), body })
}
