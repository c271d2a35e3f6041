//! The fleet's messages and how they are written: JSON inside of gRPC frames.
//!
//! JSON, since the messages are few and small, both ends run the same build, and a build step for
//! protocol files would cost every fresh clone more than it gives.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use bytes::{Buf, BufMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_spi::Error;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use url::Url;

use crate::connections::{ConnectionNeeds, ConnectionOrders};
use crate::report::{TaskReport, WorkerState};

/// Name of the gRPC service.
pub(crate) const SERVICE_NAME: &str = "sluice.Fleet";

/// Path of its one method: a stream each way for as long as the worker is a member.
pub(crate) const ATTEND_PATH: &str = "/sluice.Fleet/Attend";

/// Largest message: a heartbeat with some thousand tasks is under a megabyte.
pub(crate) const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromWorker {
    /// Always the first.
    Register(Registration),
    /// Every second, and whenever a task began or ended.
    Heartbeat(Heartbeat),
    /// Which connections it wants and gives back, whenever that changes.
    Connections(Vec<ConnectionNeeds>),
    /// The last one after draining.
    Leave,
}

/// Who a worker is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) worker_id: String,
    #[serde(with = "crate::text")]
    pub(crate) url: Url,
    pub(crate) build_id: String,
    pub(crate) started_micros: i64,
    pub(crate) cores: u64,
    pub(crate) memory_limit_bytes: u64,
    /// Connections that it holds already, by catalog: it was a member before.
    pub(crate) connections: BTreeMap<String, usize>,
}

/// How a worker is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub(crate) state: WorkerState,
    pub(crate) memory_used_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
    /// Every running task, and those that ended since the heartbeat before.
    pub(crate) tasks: Vec<TaskReport>,
    /// The last [`ToWorker::Report`] that this answers.
    pub(crate) answers: u64,
}

/// What the coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToWorker {
    /// The registration stands.
    Registered,
    /// It does not, and will not.
    Refused(Error),
    /// Send a heartbeat now that answers this number.
    Report(u64),
    /// Which connections it may open, and should close.
    Connections(Vec<ConnectionOrders>),
    /// Take no new tasks, end those that run, leave.
    Drain,
}

/// Reads `R` and writes `W`.
pub(crate) struct JsonCodec<W, R>(PhantomData<fn(W) -> R>);

impl<W, R> Default for JsonCodec<W, R> {
    fn default() -> Self {
        JsonCodec(PhantomData)
    }
}

impl<W, R> Codec for JsonCodec<W, R>
where
    W: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    type Encode = W;
    type Decode = R;
    type Encoder = JsonEncoder<W>;
    type Decoder = JsonDecoder<R>;

    fn encoder(&mut self) -> Self::Encoder {
        JsonEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        JsonDecoder(PhantomData)
    }
}

pub(crate) struct JsonEncoder<W>(PhantomData<fn(W)>);

impl<W: Serialize> Encoder for JsonEncoder<W> {
    type Item = W;
    type Error = Status;

    fn encode(&mut self, item: W, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        serde_json::to_writer(dst.writer(), &item)
            .map_err(|e| Status::internal(format!("could not write a fleet message: {e}")))
    }
}

pub(crate) struct JsonDecoder<R>(PhantomData<fn() -> R>);

impl<R: DeserializeOwned> Decoder for JsonDecoder<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        serde_json::from_reader(src.reader())
            .map(Some)
            .map_err(|e| Status::invalid_argument(format!("could not read a fleet message: {e}")))
    }
}
