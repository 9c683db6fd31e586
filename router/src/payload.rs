//! What a sender sent, and how it is read: once to find known series by number, and once more
//! where a shard asks for labels.

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use narthex_cluster::HeardReplica;
use narthex_proto::{
    opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest, v1::AppendBatch,
};
use prost::Message as _;

use crate::{
    append::split_batch,
    decoded::{APPEND_BATCH, OTLP_REQUEST, decoded_bytes, decoded_json_bytes},
    exposition::{ImportOptions, split_text},
    otlp::split_otlp,
    pairs::PairLabels,
    remote_write::{self, DecodeError, v1, v2},
    series::Series,
    split::{Age, Split, SplitBy, split_v1, split_v2},
    write::Written,
};

/// A request.
#[derive(Debug, Clone)]
pub enum Payload {
    /// `prometheus.WriteRequest` in a snappy block.
    RemoteWrite1(Bytes),
    /// `io.prometheus.write.v2.Request` in a snappy block.
    RemoteWrite2(Bytes),
    /// OpenTelemetry's `ExportMetricsServiceRequest` as a body.
    Otlp(Body, OtlpEncoding),
    /// Whole lines of Prometheus's text format.
    Text {
        /// The lines.
        text: Bytes,
        /// How many were in front of them.
        lines_before: usize,
        /// What else the import says.
        options: Arc<ImportOptions>,
    },
    /// A batch of our own API.
    Batch(Bytes),
    /// Any of them, with samples that may be older than the out-of-order window allows.
    Backfill(Box<Payload>),
}

/// A body, perhaps compressed.
#[derive(Debug, Clone)]
pub struct Body {
    /// As received.
    pub bytes: Bytes,
    /// How it is compressed.
    pub compression: Compression,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// gzip, one member.
    Gzip,
}

impl Compression {
    /// The compression that `Content-Encoding` names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "" | "identity" => Some(Self::Identity),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// How an OTLP message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// As protobuf.
    Protobuf,
    /// As OTLP's JSON.
    Json,
}

impl Payload {
    /// What it says it takes in memory; `None` if its head is malformed. Nothing is allocated
    /// beyond that.
    pub fn declared_len(&self) -> Option<u64> {
        match self {
            Self::RemoteWrite1(body) | Self::RemoteWrite2(body) => {
                snap::raw::decompress_len(body).ok().map(|len| len as u64)
            }
            Self::Otlp(body, _) => body.declared_len(),
            Self::Batch(bytes) | Self::Text { text: bytes, .. } => Some(bytes.len() as u64),
            Self::Backfill(payload) => payload.declared_len(),
        }
    }

    /// The replica of a pair of senders that this comes from. Only remote write comes from any.
    pub fn sender(
        &self,
        bytes_max: usize,
        labels: &PairLabels,
    ) -> Result<Option<HeardReplica>, DecodeError> {
        let mut sender = None;
        self.each_series(bytes_max, &mut |series| {
            sender = labels.sender(&series.labels);
            false
        })?;
        Ok(sender)
    }

    /// How much there is in it. Only remote write is counted.
    pub fn count(&self, bytes_max: usize) -> Result<Written, DecodeError> {
        let mut all = Written::default();
        self.each_series(bytes_max, &mut |series| {
            all.samples += series.samples.len() as u64;
            all.histograms += (series.histograms.len() + series.histograms_refused.len()) as u64;
            all.exemplars += (series.exemplars.len() + series.exemplars_refused) as u64;
            true
        })?;
        Ok(all)
    }

    /// Reads series after series for as long as `wants_more` says so.
    fn each_series(
        &self,
        bytes_max: usize,
        wants_more: &mut dyn FnMut(&Series<'_>) -> bool,
    ) -> Result<(), DecodeError> {
        match self {
            Self::RemoteWrite1(body) => {
                let decompressed = remote_write::decompress(body, bytes_max)?;
                let mut request = v1::WriteRequest::new(&decompressed);
                let (mut series, mut scratch) = (Series::default(), v1::Scratch::default());
                while let Some(raw) = request.next_series()? {
                    raw.read(&mut series, &mut scratch)?;
                    if !wants_more(&series) {
                        break;
                    }
                }
            }
            Self::RemoteWrite2(body) => {
                let decompressed = remote_write::decompress(body, bytes_max)?;
                let mut request = v2::Request::new(&decompressed)?;
                let (mut series, mut scratch) = (Series::default(), v2::Scratch::default());
                while let Some(raw) = request.next_series()? {
                    raw.read(request.symbols(), &mut series, &mut scratch)?;
                    if !wants_more(&series) {
                        break;
                    }
                }
            }
            Self::Otlp(..) | Self::Text { .. } | Self::Batch(_) => {}
            Self::Backfill(payload) => return payload.each_series(bytes_max, wants_more),
        }
        Ok(())
    }

    /// Decompresses, decodes and splits, all within the limits.
    pub fn split(&self, by: &SplitBy<'_>) -> Result<Split, DecodeError> {
        let bytes_max = by.limits.request_bytes_max;
        match self {
            Self::RemoteWrite1(body) => split_v1(&remote_write::decompress(body, bytes_max)?, by),
            Self::RemoteWrite2(body) => split_v2(&remote_write::decompress(body, bytes_max)?, by),
            Self::Otlp(body, encoding) => {
                let body = body.decompress(bytes_max)?;
                let len = body.len();
                let message = encoding.decode(body, by.limits.parts_bytes_max())?;
                split_otlp(&message, len, by)
            }
            Self::Text { text, lines_before, options } => {
                split_text(text, *lines_before, options, by)
            }
            Self::Batch(bytes) => {
                check_decoded(decoded_bytes(bytes, &APPEND_BATCH)?, by.limits.parts_bytes_max())?;
                let batch = AppendBatch::decode(bytes.clone());
                let batch = batch.map_err(|error| DecodeError::Message {
                    format: "protobuf",
                    reason: error.to_string(),
                })?;
                split_batch(&batch, bytes.len(), by)
            }
            Self::Backfill(payload) => payload.split(&SplitBy { age: Age::Any, ..*by }),
        }
    }
}

impl Body {
    /// gzip says at its end what it decompresses to, modulo 4 GiB.
    fn declared_len(&self) -> Option<u64> {
        match self.compression {
            Compression::Identity => Some(self.bytes.len() as u64),
            Compression::Gzip => {
                self.bytes.last_chunk::<4>().map(|len| u32::from_le_bytes(*len).into())
            }
        }
    }

    /// The body as it was before it was compressed, of at most `bytes_max`.
    fn decompress(&self, bytes_max: usize) -> Result<Bytes, DecodeError> {
        let declared = self.declared_len().unwrap_or(0);
        if declared > bytes_max as u64 {
            return Err(DecodeError::TooLarge { declared, limit: bytes_max });
        }
        if self.compression == Compression::Identity {
            return Ok(self.bytes.clone());
        }
        let malformed = |reason: String| DecodeError::Compression { format: "gzip", reason };
        let mut decompressed = Vec::with_capacity(declared as usize);
        let mut decoder = GzDecoder::new(&self.bytes[..]);
        // One byte more than declared is enough to see that the declaration is false.
        let read = decoder.by_ref().take(declared + 1).read_to_end(&mut decompressed);
        read.map_err(|error| malformed(error.to_string()))?;
        if decompressed.len() as u64 != declared || !decoder.into_inner().is_empty() {
            return Err(malformed("its length is not what its end says".to_owned()));
        }
        Ok(decompressed.into())
    }
}

impl OtlpEncoding {
    /// Decodes what takes at most `decoded_max` bytes of memory.
    fn decode(
        self,
        body: Bytes,
        decoded_max: usize,
    ) -> Result<ExportMetricsServiceRequest, DecodeError> {
        match self {
            Self::Protobuf => {
                check_decoded(decoded_bytes(&body, &OTLP_REQUEST)?, decoded_max)?;
                ExportMetricsServiceRequest::decode(body).map_err(|error| DecodeError::Message {
                    format: "protobuf",
                    reason: error.to_string(),
                })
            }
            Self::Json => {
                check_decoded(decoded_json_bytes(&body), decoded_max)?;
                serde_json::from_slice(&body).map_err(|error| DecodeError::Message {
                    format: "JSON",
                    reason: error.to_string(),
                })
            }
        }
    }
}

fn check_decoded(bytes: usize, limit: usize) -> Result<(), DecodeError> {
    if bytes > limit { Err(DecodeError::PartsTooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression as Level, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Body {
        let mut encoder = GzEncoder::new(Vec::new(), Level::default());
        encoder.write_all(bytes).expect("memory");
        let bytes = encoder.finish().expect("memory").into();
        Body { bytes, compression: Compression::Gzip }
    }

    #[test]
    fn gzip_is_undone_up_to_the_limit() {
        let zeros = vec![0; 1000];
        assert_eq!(gzip(&zeros).decompress(1000).expect("fits"), zeros);
        assert_eq!(gzip(b"").decompress(1000).expect("fits"), "");
        let error = DecodeError::TooLarge { declared: 1000, limit: 999 };
        assert_eq!(gzip(&zeros).decompress(999), Err(error));
    }

    /// A bomb that says it is small is stopped where it said it ends.
    #[test]
    fn what_gzip_says_of_itself_must_be_true() {
        for said in [0u32, 5, 999, 1001] {
            let mut bytes = gzip(&vec![0; 1000]).bytes.to_vec();
            let end = bytes.len() - 4;
            bytes[end..].copy_from_slice(&said.to_le_bytes());
            let body = Body { bytes: bytes.into(), compression: Compression::Gzip };
            let error = body.decompress(1 << 20).expect_err("false");
            assert!(error.to_string().starts_with("malformed gzip"), "{error}");
        }
        let mut two = gzip(b"a").bytes.to_vec();
        two.extend_from_slice(&gzip(b"b").bytes);
        let two = Body { bytes: two.into(), compression: Compression::Gzip };
        assert!(two.decompress(100).is_err(), "one member only");
        for end in 0..two.bytes.len() {
            let cut = Body { bytes: two.bytes.slice(..end), compression: Compression::Gzip };
            let _ = cut.decompress(100);
        }
    }
}
