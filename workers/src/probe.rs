//! Counts what leaves a task, and notices when it ends.
//!
//! The probe stands for the topmost node of a task's plan and shows that node's children, name,
//! properties, metrics and type as its own, since metrics travel back to the coordinator by position
//! in the tree, and datafusion-distributed recognises nodes by type. The head that a network boundary
//! wants (a repartition or a broadcast) is replaced at run time, so the probe goes below it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as EngineResult;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::BroadcastExec;
use futures::{Stream, StreamExt};

use crate::tasks::TaskRecord;

/// Puts a probe into a task's plan and tells the record about the plan.
pub(crate) fn probe(
    plan: Arc<dyn ExecutionPlan>,
    record: &Arc<TaskRecord>,
) -> EngineResult<Arc<dyn ExecutionPlan>> {
    let has_head = plan.is::<RepartitionExec>() || plan.is::<BroadcastExec>();
    let (probed, partitions) = match plan.children().as_slice() {
        [child] if has_head => {
            let partitions = child.output_partitioning().partition_count();
            let child = TaskProbeExec::wrap(Arc::clone(child), record);
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            (
                Arc::clone(&plan).replace_children(vec![child], options)?,
                partitions,
            )
        }
        _ => {
            let partitions = plan.output_partitioning().partition_count();
            (TaskProbeExec::wrap(Arc::clone(&plan), record), partitions)
        }
    };
    record.set_plan(&probed, partitions);
    Ok(probed)
}

struct TaskProbeExec {
    inner: Arc<dyn ExecutionPlan>,
    record: Arc<TaskRecord>,
}

impl TaskProbeExec {
    fn wrap(inner: Arc<dyn ExecutionPlan>, record: &Arc<TaskRecord>) -> Arc<dyn ExecutionPlan> {
        Arc::new(TaskProbeExec {
            inner,
            record: Arc::clone(record),
        })
    }
}

impl fmt::Debug for TaskProbeExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskProbeExec").field(&self.inner).finish()
    }
}

impl DisplayAs for TaskProbeExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(format, f)
    }
}

impl ExecutionPlan for TaskProbeExec {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.inner.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> EngineResult<TreeNodeRecursion>,
    ) -> EngineResult<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).replace_children(children, options)?;
        Ok(TaskProbeExec::wrap(inner, &self.record))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> EngineResult<SendableRecordBatchStream> {
        let inner = self
            .inner
            .execute(partition, context)
            .inspect_err(|error| self.record.failed(error))?;
        Ok(Box::pin(ProbeStream {
            inner,
            record: Arc::clone(&self.record),
            at_its_end: false,
        }))
    }
}

struct ProbeStream {
    inner: SendableRecordBatchStream,
    record: Arc<TaskRecord>,
    at_its_end: bool,
}

impl Stream for ProbeStream {
    type Item = EngineResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(cx);
        match &polled {
            Poll::Ready(Some(Ok(batch))) => {
                self.record
                    .add_output(batch.num_rows() as u64, batch_bytes(batch));
            }
            Poll::Ready(Some(Err(error))) => self.record.failed(error),
            Poll::Ready(None) if !self.at_its_end => {
                // Said here and not only on drop, so that the report is ready before the reader can
                // see the end.
                self.at_its_end = true;
                self.record.partition_ended(true);
            }
            _ => {}
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl RecordBatchStream for ProbeStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

impl Drop for ProbeStream {
    fn drop(&mut self) {
        if !self.at_its_end {
            self.record.partition_ended(false);
        }
    }
}

/// Bytes of the rows themselves; a slice of a larger buffer counts as the slice.
fn batch_bytes(batch: &RecordBatch) -> u64 {
    let bytes: usize = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    bytes as u64
}
