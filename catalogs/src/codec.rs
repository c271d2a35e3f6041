//! How a scan crosses to a worker: catalog name, handle and splits; no connection, no secret.
//!
//! This is the one user codec of the fleet (codec order is positional), so whatever else must cross gets
//! a variant here.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use prost::Message;
use serde::{Deserialize, Serialize};
use sluice_spi::{HANDLE_VERSION, Split, TableHandle};

use crate::Catalogs;
use crate::scan::{ConnectorScanExec, ScanTarget, as_scan};

/// Encodes and decodes Sluice's own plan nodes against the catalogs of this process.
#[derive(Debug, Clone)]
pub struct SluiceCodec {
    catalogs: Arc<Catalogs>,
}

impl SluiceCodec {
    /// A codec that resolves catalogs in `catalogs`.
    pub fn new(catalogs: Arc<Catalogs>) -> Self {
        SluiceCodec { catalogs }
    }
}

/// A node on the wire. The order of variants is part of the format; coordinator and workers are of one
/// build.
#[derive(Serialize, Deserialize)]
enum WireNode {
    Scan(WireScan),
}

#[derive(Serialize, Deserialize)]
struct WireScan {
    query_id: String,
    schema_name: String,
    table_name: String,
    handle: TableHandle,
    /// Arrow schema as a protobuf message.
    schema: Vec<u8>,
    projection: Vec<usize>,
    groups: Vec<Vec<Split>>,
    limit: Option<usize>,
    coordinator_only: bool,
    key_limits: BTreeMap<usize, usize>,
    /// Run-time filters as protobuf messages.
    dynamic_filters: Vec<Vec<u8>>,
}

impl PhysicalExtensionCodec for SluiceCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(scan) = as_scan(node.as_ref()) else {
            return internal_err!("{} cannot cross to a worker", node.name());
        };
        let target = scan.target();
        let schema = protobuf::Schema::try_from(target.schema.as_ref())?;
        let dynamic_filters = scan
            .dynamic_filters()
            .iter()
            .map(|filter| {
                Ok(converter
                    .physical_expr_to_proto(filter, self)?
                    .encode_to_vec())
            })
            .collect::<Result<Vec<_>>>()?;
        let wire = WireNode::Scan(WireScan {
            query_id: target.query_id.to_string(),
            schema_name: target.schema_name.clone(),
            table_name: target.table_name.clone(),
            handle: target.handle.clone(),
            schema: schema.encode_to_vec(),
            projection: scan.projection().to_vec(),
            groups: scan.groups().to_vec(),
            limit: scan.limit(),
            coordinator_only: target.coordinator_only,
            key_limits: target.key_limits.clone(),
            dynamic_filters,
        });
        *buf = postcard::to_extend(&wire, std::mem::take(buf))
            .map_err(|e| exec_datafusion_err!("could not encode a scan: {e}"))?;
        Ok(())
    }

    fn try_decode(
        &self,
        buf: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let WireNode::Scan(wire) = postcard::from_bytes(buf)
            .map_err(|e| exec_datafusion_err!("could not decode a scan: {e}"))?;
        if wire.handle.version != HANDLE_VERSION {
            return internal_err!(
                "a handle of version {} in a build of another",
                wire.handle.version
            );
        }
        let schema = protobuf::Schema::decode(wire.schema.as_slice())
            .map_err(|e| exec_datafusion_err!("could not decode a schema: {e}"))?;
        let target = Arc::new(ScanTarget {
            query_id: wire.query_id.into(),
            schema_name: wire.schema_name,
            table_name: wire.table_name,
            handle: wire.handle,
            schema: Arc::new(Schema::try_from(&schema)?),
            coordinator_only: wire.coordinator_only,
            key_limits: wire.key_limits,
            notes: Vec::new(),
        });
        let scan = ConnectorScanExec::try_new(
            self.catalogs.clone(),
            target,
            wire.projection,
            wire.groups,
            wire.limit,
        )?;
        let output = scan.schema();
        let context = PhysicalPlanDecodeContext::new(ctx, self);
        let dynamic_filters = wire
            .dynamic_filters
            .iter()
            .map(|bytes| {
                let node = protobuf::PhysicalExprNode::decode(bytes.as_slice())
                    .map_err(|e| exec_datafusion_err!("could not decode a filter: {e}"))?;
                converter.proto_to_physical_expr(&node, &output, &context)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(scan.with_dynamic_filters(dynamic_filters)))
    }
}
