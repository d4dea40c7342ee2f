//! The model of Kafka: clusters with incarnations of one topic, each with a log per partition. Remembers every content that an
//! offset ever had, because records that a truncation took away may have been read before.

/// What an offset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// No value: moves the position, makes no row.
    Tombstone,
    /// Cannot be decoded: a dead letter.
    Poison,
    /// The database refuses it for as long as it exists.
    Refused,
    /// A marker, or an aborted record: nobody sees it.
    Hole,
}

/// One offset's content; the serial tells apart what different logs, or a log before and after a truncation, hold there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub kind: Kind,
    pub serial: u32,
}

#[derive(Debug, Default)]
pub struct Log {
    pub low: i64,
    cells: Vec<Content>,
    truncated: Vec<(i64, Content)>,
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Log {
    pub fn high(&self) -> i64 {
        i64::try_from(self.cells.len()).unwrap_or(i64::MAX)
    }

    pub fn at(&self, offset: i64) -> Content {
        self.cells[index(offset)]
    }

    pub fn append(&mut self, content: Content) {
        self.cells.push(content);
    }

    /// The brokers lose what is at `high` and behind it.
    pub fn truncate(&mut self, high: i64) {
        for offset in high..self.high() {
            self.truncated.push((offset, self.at(offset)));
        }
        self.cells.truncate(index(high));
    }

    /// Whether the offset has at any time held something like this.
    pub fn ever(&self, offset: i64, fits: impl Fn(Content) -> bool) -> bool {
        let now = self.cells.get(index(offset));
        let before = self.truncated.iter().filter(|(at, _)| *at == offset).map(|(_, content)| content);
        now.into_iter().chain(before).any(|content| fits(*content))
    }
}

/// A topic from its making to its deletion.
#[derive(Debug)]
pub struct Incarnation {
    pub cluster: usize,
    pub logs: Vec<Log>,
}

/// All clusters, and all that has ever been on them.
#[derive(Debug)]
pub struct Kafka {
    pub up: bool,
    pub incarnations: Vec<Incarnation>,
    /// The incarnation that lives now, by cluster.
    current: Vec<usize>,
    serial: u32,
}

impl Kafka {
    pub fn new(partitions: usize) -> Self {
        let mut kafka = Self { up: true, incarnations: Vec::new(), current: vec![0], serial: 0 };
        kafka.create(0, partitions);
        kafka
    }

    fn create(&mut self, cluster: usize, partitions: usize) {
        let logs = (0..partitions).map(|_| Log::default()).collect();
        self.current[cluster] = self.incarnations.len();
        self.incarnations.push(Incarnation { cluster, logs });
    }

    /// The cluster that new processes reach.
    pub fn newest_cluster(&self) -> usize {
        self.current.len() - 1
    }

    /// The incarnation that somebody on this cluster sees.
    pub fn seen_by(&self, cluster: usize) -> usize {
        self.current[cluster]
    }

    /// The incarnation that lives on the newest cluster.
    pub fn living(&self) -> usize {
        self.seen_by(self.newest_cluster())
    }

    pub fn log(&self, incarnation: usize, partition: usize) -> Option<&Log> {
        self.incarnations[incarnation].logs.get(partition)
    }

    pub fn log_mut(&mut self, partition: usize) -> Option<&mut Log> {
        let living = self.living();
        self.incarnations[living].logs.get_mut(partition)
    }

    pub fn partitions(&self) -> usize {
        self.incarnations[self.living()].logs.len()
    }

    pub fn append(&mut self, partition: usize, kind: Kind) {
        self.serial += 1;
        let content = Content { kind, serial: self.serial };
        if let Some(log) = self.log_mut(partition) {
            log.append(content);
        }
    }

    pub fn add_partition(&mut self) {
        let living = self.living();
        self.incarnations[living].logs.push(Log::default());
    }

    /// Deletes the topic and makes it again.
    pub fn recreate(&mut self) {
        self.create(self.newest_cluster(), self.partitions());
    }

    /// From now on new processes reach another cluster; old ones keep the old one, to which nobody writes.
    pub fn swap_cluster(&mut self) {
        let partitions = self.partitions();
        self.current.push(0);
        self.create(self.newest_cluster(), partitions);
    }
}
