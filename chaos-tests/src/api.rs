//! Prometheus's HTTP API, as a client sees it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use ureq::Agent;

/// Calls to one web listener. Each has a deadline.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    url: String,
}

/// Samples of one series: milliseconds and values.
pub type Samples = Vec<(i64, f64)>;

impl Api {
    /// Connects when first asked.
    pub fn new(url: &str, deadline: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(deadline))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    /// Where it calls.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The status and body of a GET.
    pub fn text(&self, path: &str) -> Result<(u16, String), String> {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.url))
            .call()
            .map_err(|error| format!("{path}: {error}"))?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string();
        Ok((response.status().as_u16(), body.map_err(|error| format!("{path}: {error}"))?))
    }

    /// The status and body of a POST without a body.
    pub fn post(&self, path: &str) -> Result<(u16, String), String> {
        let mut response = self
            .agent
            .post(format!("{}{path}", self.url))
            .send_empty()
            .map_err(|error| format!("{path}: {error}"))?;
        let body = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((response.status().as_u16(), body))
    }

    /// Sends samples in Prometheus's text format. Returns the status, and the body of a refusal.
    pub fn import(&self, text: &str) -> Result<(u16, String), String> {
        let mut response = self
            .agent
            .post(format!("{}/api/v1/import/prometheus", self.url))
            .send(text)
            .map_err(|error| error.to_string())?;
        let body = response.body_mut().read_to_string().unwrap_or_default();
        Ok((response.status().as_u16(), body))
    }

    /// The `data` of a GET that is answered with success.
    pub fn data(&self, path: &str) -> Result<Value, String> {
        let (_, body) = self.text(path)?;
        let mut answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] != "success" {
            return Err(body);
        }
        Ok(answer["data"].take())
    }

    /// The value of a line of `/metrics`, as it is named there with its labels.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let (_, page) = self.text("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.ok_or_else(|| format!("no {name} in /metrics"))?;
        value.parse().map_err(|_| format!("no number: {value}"))
    }

    /// Sends a request of remote write 1.0. Returns its status, and the body of a refusal.
    pub fn write(&self, compressed: &[u8]) -> Result<(u16, String), String> {
        self.write_as(("application/x-protobuf", "0.1.0"), compressed)
    }

    /// The same of remote write 2.0.
    pub fn write_2(&self, compressed: &[u8]) -> Result<(u16, String), String> {
        let message = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        self.write_as((message, "2.0.0"), compressed)
    }

    fn write_as(
        &self,
        (content_type, version): (&str, &str),
        compressed: &[u8],
    ) -> Result<(u16, String), String> {
        let mut response = self
            .agent
            .post(format!("{}/api/v1/write", self.url))
            .header("content-type", content_type)
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", version)
            .send(compressed)
            .map_err(|error| error.to_string())?;
        let body = response.body_mut().read_to_string().unwrap_or_default();
        Ok((response.status().as_u16(), body))
    }

    /// The `data` of a successful answer without warnings; everything else is an error.
    pub fn query(&self, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut answer = self.answer(parameters)?;
        match answer["warnings"].is_null() {
            true => Ok(answer["data"]["result"].take()),
            false => Err(answer["warnings"].to_string()),
        }
    }

    /// A successful answer with all that comes with it.
    fn answer(&self, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let answer = self.asked("/api/v1/query", parameters)?;
        if answer["status"] == "success" { Ok(answer) } else { Err(answer.to_string()) }
    }

    /// The answer to a GET with these parameters, also where it is an error.
    pub fn asked(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.url))
            .query_pairs(parameters.iter().copied())
            .call()
            .map_err(|error| error.to_string())?;
        let body = response
            .body_mut()
            .with_config()
            .limit(256 << 20)
            .read_to_string()
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    /// The values of an instant vector, by the value of one label.
    pub fn vector(&self, expression: &str, label: &str) -> Result<BTreeMap<String, f64>, String> {
        self.vector_of(&[("query", expression)], label)
    }

    /// The same for a query with these parameters.
    pub fn vector_of(
        &self,
        parameters: &[(&str, &str)],
        label: &str,
    ) -> Result<BTreeMap<String, f64>, String> {
        let result = self.query(parameters)?;
        let rows = result.as_array().ok_or_else(|| format!("no vector: {result}"))?;
        rows.iter()
            .map(|row| {
                let name = row["metric"][label].as_str().unwrap_or_default().to_owned();
                Ok((name, number(&row["value"][1])?))
            })
            .collect()
    }

    /// The only value of an instant vector or scalar.
    pub fn single(&self, expression: &str) -> Result<f64, String> {
        let result = self.query(&[("query", expression)])?;
        number(&result[0]["value"][1]).or_else(|_| number(&result[1]))
    }

    /// The stored samples of a range selector, by the value of one label.
    pub fn samples(
        &self,
        selector: &str,
        label: &str,
    ) -> Result<BTreeMap<String, Samples>, String> {
        samples(&self.query(&[("query", selector)])?, (selector, label))
    }

    /// The same of whatever replicas are left, and a warning that says so: without one it is an
    /// error.
    pub fn old_samples(
        &self,
        selector: &str,
        label: &str,
    ) -> Result<BTreeMap<String, Samples>, String> {
        let answer = self.answer(&[("query", selector), ("consistency", "bounded")])?;
        if answer["warnings"].is_null() {
            return Err("the answer is not old".to_owned());
        }
        samples(&answer["data"]["result"], (selector, label))
    }
}

fn samples(
    result: &Value,
    (selector, label): (&str, &str),
) -> Result<BTreeMap<String, Samples>, String> {
    let rows = result.as_array().ok_or_else(|| format!("no matrix: {result}"))?;
    let mut series = BTreeMap::new();
    for row in rows {
        let name = row["metric"][label].as_str().unwrap_or_default().to_owned();
        let values = row["values"].as_array().ok_or_else(|| format!("no floats: {row}"))?;
        let samples: Result<Samples, String> =
            values.iter().map(|pair| Ok((millis(&pair[0])?, number(&pair[1])?))).collect();
        if series.insert(name.clone(), samples?).is_some() {
            return Err(format!("two series with {label}={name:?} match {selector}"));
        }
    }
    Ok(series)
}

fn number(value: &Value) -> Result<f64, String> {
    let text = value.as_str().ok_or_else(|| format!("no number: {value}"))?;
    text.replace("Inf", "inf").parse().map_err(|_| format!("no number: {text}"))
}

#[expect(clippy::cast_possible_truncation, reason = "times of tests are near the present")]
fn millis(value: &Value) -> Result<i64, String> {
    let seconds = value.as_f64().ok_or_else(|| format!("no time: {value}"))?;
    Ok((seconds * 1000.0).round() as i64)
}
