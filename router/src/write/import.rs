//! `POST /api/v1/import/prometheus`: Prometheus's text format, of any length.
//!
//! A body is read, decompressed and appended piece by piece, each of whole lines, so that an
//! import of a year costs no more memory than one of a minute. Samples without a time get the one
//! of the parameter `timestamp` in milliseconds, else ours; `extra_label=name=value`, which may
//! come again, adds a label to every series.
//!
//! Samples may be as old as retention allows: the out-of-order window is for what comes late by
//! itself.
//!
//! Answers: 204 when every shard has its part; 400 at the first line that cannot be read, which
//! is named, or when samples can never be stored (the rest is); 429 and 503, with `Retry-After`,
//! when sending it again can succeed. The text says how many lines are behind it; sending those
//! again is harmless.

use std::{io::Write as _, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;
use http::{StatusCode, Uri, header};
use narthex_model::Timestamp;
use percent_encoding::percent_decode_str;

use super::{
    BODY_TIME, Router,
    answer::{Ingested, WriteError},
};
use crate::{
    exposition::ImportOptions,
    payload::{Compression, Payload},
    remote_write::DecodeError,
};

/// A piece is appended once it is so long.
const PIECE_BYTES: usize = 1 << 20;
/// What is decompressed at once: gzip makes at most a thousand times as much of it.
const COMPRESSED_BYTES: usize = 4 << 10;

impl Router {
    /// Answers an import.
    pub(super) async fn import(&self, request: Request) -> Response {
        let now = self.clock.now();
        let opened = options(request.uri(), now).and_then(|options| {
            let encoding = request.headers().get(header::CONTENT_ENCODING);
            let name =
                encoding.map_or("", |name| name.to_str().unwrap_or("?")).to_ascii_lowercase();
            let compression = Compression::named(&name).ok_or_else(|| {
                let text = format!("content encoding {name:?} is not supported, only gzip is");
                WriteError::Unsupported(text)
            })?;
            Ok((options, compression))
        });
        let (options, compression) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refuse(&error),
        };
        let mut pieces = Pieces::new(compression, self.options.limits.request_bytes_max);
        let mut all = Ingested::default();
        let result =
            self.import_all(request.into_body(), &mut pieces, &Arc::new(options), &mut all).await;
        if let Err(error) = result {
            all.failed.get_or_insert(error);
        }
        let lines = pieces.lines_taken;
        match all.error() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(error) => self.refuse_import(error, lines),
        }
    }

    /// Appends piece after piece until the end, or until one fails.
    async fn import_all(
        &self,
        body: Body,
        pieces: &mut Pieces,
        options: &Arc<ImportOptions>,
        all: &mut Ingested,
    ) -> Result<(), WriteError> {
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::time::timeout(BODY_TIME, chunks.next());
            let chunk = chunk.await.map_err(|_| WriteError::BodyTimedOut)?;
            let is_last = chunk.is_none();
            if let Some(chunk) = chunk {
                let chunk = chunk.map_err(|_| WriteError::BodyBrokeOff)?;
                for part in chunk.chunks(COMPRESSED_BYTES) {
                    pieces.push(part)?;
                    self.import_piece(pieces.take(PIECE_BYTES), pieces, options, all).await?;
                }
            }
            if is_last {
                pieces.end()?;
                return self.import_piece(pieces.take(0), pieces, options, all).await;
            }
        }
    }

    async fn import_piece(
        &self,
        text: Option<Bytes>,
        pieces: &mut Pieces,
        options: &Arc<ImportOptions>,
        all: &mut Ingested,
    ) -> Result<(), WriteError> {
        let Some(text) = text else { return Ok(()) };
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        let lines_before = pieces.lines_taken;
        let options = Arc::clone(options);
        let text = Payload::Text { text, lines_before, options };
        let backfill = Payload::Backfill(Box::new(text));
        let mut ingested = self.ingest(backfill, self.memory.share()).await;
        let failed = ingested.failed.take();
        all.merge(ingested);
        match failed {
            Some(error) => Err(error),
            None => {
                pieces.lines_taken += lines;
                Ok(())
            }
        }
    }

    fn refuse_import(&self, error: WriteError, lines: usize) -> Response {
        let refused = self.refuse(&error);
        let (head, _) = refused.into_parts();
        let text = match error {
            WriteError::Samples(text) => format!("{text}\n"),
            error => format!("{error} (the first {lines} lines are done)\n"),
        };
        let mut response = (head.status, text).into_response();
        if let Some(after) = head.headers.get(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        response
    }
}

fn options(uri: &Uri, now: Timestamp) -> Result<ImportOptions, WriteError> {
    let mut options = ImportOptions { extra_labels: Vec::new(), timestamp: now };
    let query = uri.query().unwrap_or_default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8_lossy();
        match name {
            "extra_label" => {
                let pair = value.split_once('=').filter(|(name, _)| !name.is_empty());
                let (name, value) = pair.ok_or_else(|| {
                    let text = format!("extra_label={value}: expected extra_label=name=value");
                    WriteError::Parameter(text)
                })?;
                options.extra_labels.retain(|(found, _)| found != name);
                options.extra_labels.push((name.to_owned(), value.to_owned()));
            }
            "timestamp" => {
                let millis = value.parse().map_err(|_| {
                    WriteError::Parameter(format!("timestamp={value}: expected milliseconds"))
                })?;
                options.timestamp = Timestamp::from_millis(millis);
            }
            _ => {}
        }
    }
    Ok(options)
}

/// A body on its way to whole lines.
struct Pieces {
    decoder: Option<GzDecoder<Vec<u8>>>,
    text: Vec<u8>,
    /// A line may not be longer.
    bytes_max: usize,
    /// Lines that are appended.
    lines_taken: usize,
}

impl Pieces {
    fn new(compression: Compression, bytes_max: usize) -> Self {
        let is_gzip = compression == Compression::Gzip;
        Self {
            decoder: is_gzip.then(|| GzDecoder::new(Vec::new())),
            text: Vec::new(),
            bytes_max,
            lines_taken: 0,
        }
    }

    fn push(&mut self, part: &[u8]) -> Result<(), DecodeError> {
        match &mut self.decoder {
            None => self.text.extend_from_slice(part),
            Some(decoder) => {
                decoder.write_all(part).map_err(malformed_gzip)?;
                self.text.append(decoder.get_mut());
            }
        }
        let longest = self.text.len();
        // Whole lines have been taken: this is one that does not end.
        if longest > self.bytes_max.max(PIECE_BYTES) && !self.text.contains(&b'\n') {
            return Err(DecodeError::TooLarge { declared: longest as u64, limit: self.bytes_max });
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if let Some(mut decoder) = self.decoder.take() {
            decoder.try_finish().map_err(malformed_gzip)?;
            self.text.append(decoder.get_mut());
        }
        // The last line may lack its end.
        if self.text.last().is_some_and(|last| *last != b'\n') {
            self.text.push(b'\n');
        }
        Ok(())
    }

    /// The whole lines so far, once they are at least `bytes_min` long.
    fn take(&mut self, bytes_min: usize) -> Option<Bytes> {
        if self.text.len() < bytes_min.max(1) {
            return None;
        }
        let end = self.text.iter().rposition(|byte| *byte == b'\n')? + 1;
        let end = before_comments(&self.text[..end]).filter(|_| bytes_min > 0).unwrap_or(end);
        let rest = self.text.split_off(end);
        Some(std::mem::replace(&mut self.text, rest).into())
    }
}

/// Where the comments at the end of whole lines begin: what is said of a metric stays in one piece.
/// `None` if there is nothing else.
fn before_comments(lines: &[u8]) -> Option<usize> {
    let mut end = lines.len();
    loop {
        let start = lines[..end.checked_sub(1)?].iter().rposition(|byte| *byte == b'\n');
        let start = start.map_or(0, |newline| newline + 1);
        match lines.get(start) {
            Some(b'#') if start == 0 => return None,
            Some(b'#') => end = start,
            _ => return Some(end),
        }
    }
}

fn malformed_gzip(error: std::io::Error) -> DecodeError {
    DecodeError::Compression { format: "gzip", reason: error.to_string() }
}

#[cfg(test)]
mod tests;
