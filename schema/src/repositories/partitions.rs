//! Positions as a list: every replay leaves rows of its own, so their number has no bound.

use serde::{Deserialize, Serialize};

use super::Page;
use super::statement::{Statement, Value};
use crate::store::{PartitionState, Store, StoreError};

/// A place in the list of positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionKey {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

impl Store {
    /// The first `limit` positions, after one of them, in the order of group, topic, partition. `topic` narrows them.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn partition_page(
        &self,
        topic: Option<&String>,
        group: Option<&String>,
        after: Option<PartitionKey>,
        limit: usize,
    ) -> Result<Page<PartitionState, PartitionKey>, StoreError> {
        let mut statement = Statement::new(
            "select p.consumer_group as \"group\", p.topic, p.partition, p.lineage_id, l.cluster_id, l.topic_id, \
                    p.start_offset, p.next_offset, p.epoch, p.owner, p.updated_at, p.halted, p.halted_detail, p.halted_at, \
                    p.budget_exempt_to \
             from partition_offsets p join lineages l on l.id = p.lineage_id where true",
        );
        statement.and_text("p.topic = ?", topic);
        statement.and_text("p.consumer_group = ?", group);
        if let Some(PartitionKey { group, topic, partition }) = after {
            let place = [Value::Text(group), Value::Text(topic), Value::Int(partition)];
            statement.push("and (p.consumer_group, p.topic, p.partition) > (?, ?, ?)", place);
        }
        statement.push(&format!("order by p.consumer_group, p.topic, p.partition limit {}", limit + 1), []);
        let mut session = self.checkout().await?;
        let rows = statement.load(&mut session.conn()).await?;
        Ok(Page::cut(rows, limit, |row: &PartitionState| PartitionKey {
            group: row.group.clone(),
            topic: row.topic.clone(),
            partition: row.partition,
        }))
    }
}
