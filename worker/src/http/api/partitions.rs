//! Where every partition stands in the database, and how far that is behind the end of its log, as far as this worker knows.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::PartitionKey;
use ledgerline_schema::store::{Extent, PartitionState, Switch};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use crate::http::Shared;
use crate::http::input::{Limit, Params, key};
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A partition of one group.
#[derive(Debug, Serialize, ToSchema)]
struct Partition {
    /// The consumer group.
    group: String,
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Which log the offsets count in.
    lineage: i32,
    /// The next offset to store.
    next_offset: i64,
    /// The end of the log when this worker asked last; null where the partition is not this worker's.
    end_offset: Option<i64>,
    /// Records between the two.
    lag_records: Option<i64>,
    /// How often the partition was claimed.
    epoch: i64,
    /// Who claimed it last.
    owner: String,
    /// When the position last moved.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Who has paused it and why; null where it flows.
    paused: Option<Pause>,
    /// The name of the state that it is halted in.
    halted: Option<String>,
    /// What that state says.
    halted_detail: Option<String>,
}

/// A pause, as `ledgerline pause` set it.
#[derive(Debug, Serialize, ToSchema)]
struct Pause {
    /// Why.
    reason: String,
    /// By whom.
    actor: String,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// Whether it is the whole topic that is paused.
    whole_topic: bool,
}

/// Which partitions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// A topic.
    topic: Option<String>,
    /// A consumer group.
    group: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Partitions by group, topic and number.
#[utoipa::path(get, path = "/api/v1/partitions", operation_id = "listPartitions", tag = "operations", params(ListParams),
    responses((status = 200, description = "A page of partitions", body = Page<Partition>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Partition>>, Problem> {
    let after = key::<PartitionKey>(params.after.as_ref())?;
    let (topic, group, limit) = (params.topic.as_ref(), params.group.as_ref(), params.limit.0);
    let page = shared.reads.partition_page(topic, group, after, limit).await?;
    let set = shared.reads.switches(params.group.as_deref(), params.topic.as_deref()).await?;
    Ok(Json(Page::of(page, |row| view(&shared, &set, row))))
}

fn view(shared: &Shared, set: &[Switch], row: PartitionState) -> Partition {
    let paused = Switch::pausing(set, &row.group, &row.topic, row.partition);
    let end_offset = end_of(shared, &row);
    let halt = row.halt().map(|(name, _)| name.to_owned());
    Partition {
        end_offset,
        paused: paused.map(pause),
        lag_records: end_offset.map(|end| (end - row.next_offset).max(0)),
        group: row.group,
        topic: row.topic,
        partition: row.partition,
        lineage: row.lineage_id,
        next_offset: row.next_offset,
        epoch: row.epoch,
        owner: row.owner,
        updated_at: time(row.updated_at),
        halted_detail: row.halted_detail.filter(|_| halt.is_some()),
        halted: halt,
    }
}

fn pause(switch: &Switch) -> Pause {
    let whole_topic = switch.extent == Extent::Topic;
    let Switch { reason, actor, at, .. } = switch.clone();
    Pause { reason, actor, since: time(at), whole_topic }
}

/// The end that this worker's own pipeline saw: of its group, and of the partitions that it owns.
fn end_of(shared: &Shared, row: &PartitionState) -> Option<i64> {
    shared.topics.iter().find(|topic| topic.name == row.topic && topic.group == row.group)?;
    let of_topic = shared.pipelines.iter().find(|pipeline| pipeline.topic() == row.topic)?;
    of_topic.partitions().get(&row.partition)?.log_end
}
