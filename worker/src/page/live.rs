//! What keeps an open page moving: server-sent events. One sampler renders each section once a second for all who look on, and each
//! of them is sent what has changed since he was told last.
//!
//! What must stay true: nothing is computed when nobody looks; the number of lookers is bounded; one who does not read is sent
//! away, so that he keeps no place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use ledgerline_schema::time::UtcMicros;

use crate::clock;
use crate::sync::lock;

/// Most lookers at a time.
pub(super) const PLACES: usize = 32;
/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Who has not taken an event for this long does not read.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sections by name, as HTML. A section that did not change is the same allocation as before.
pub(super) type Parts = BTreeMap<&'static str, Arc<str>>;

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub at: UtcMicros,
    pub parts: Parts,
}

/// The sampler, while there is one, and the places of those who look on.
#[derive(Debug)]
pub(super) struct Live {
    every: Duration,
    patience: Duration,
    frames: Mutex<Option<watch::Sender<Frame>>>,
    places: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new(EVERY, PATIENCE)
    }
}

impl Live {
    fn new(every: Duration, patience: Duration) -> Self {
        Self { every, patience, frames: Mutex::default(), places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// A place to look on from; none where all are taken. `sample` renders every section.
    pub(super) fn join(
        self: &Arc<Self>,
        sample: impl FnMut() -> (UtcMicros, Vec<(&'static str, String)>) + Send + 'static,
    ) -> Option<mpsc::Receiver<String>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (events, receiver) = mpsc::channel(1);
        tokio::spawn(tell(self.subscribe(sample), events, self.patience, place));
        Some(receiver)
    }

    /// The frames of the sampler, which is started where there is none.
    fn subscribe(
        self: &Arc<Self>,
        sample: impl FnMut() -> (UtcMicros, Vec<(&'static str, String)>) + Send + 'static,
    ) -> watch::Receiver<Frame> {
        let mut frames = lock(&self.frames);
        if let Some(sender) = &*frames {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Frame::default());
        *frames = Some(sender);
        tokio::spawn(Arc::clone(self).keep_sampling(sample));
        receiver
    }

    async fn keep_sampling(
        self: Arc<Self>,
        mut sample: impl FnMut() -> (UtcMicros, Vec<(&'static str, String)>),
    ) {
        let mut ticks = clock::ticks(self.every);
        loop {
            ticks.tick().await;
            let (at, sections) = sample();
            let mut frames = lock(&self.frames);
            // Under the lock: whoever comes now starts a sampler of his own.
            let Some(sender) = frames.as_ref().filter(|sender| sender.receiver_count() > 0) else {
                *frames = None;
                return;
            };
            sender.send_modify(|frame| frame.become_of(at, sections));
        }
    }
}

impl Frame {
    fn become_of(&mut self, at: UtcMicros, sections: Vec<(&'static str, String)>) {
        self.at = at;
        for (id, html) in sections {
            if self.parts.get(id).is_none_or(|old| **old != *html) {
                self.parts.insert(id, html.into());
            }
        }
    }
}

/// Tells one looker what he does not know yet, until he is gone.
async fn tell(
    mut frames: watch::Receiver<Frame>,
    events: mpsc::Sender<String>,
    patience: Duration,
    _place: OwnedSemaphorePermit,
) {
    let mut told = Parts::new();
    loop {
        let event = news(&frames.borrow_and_update(), &mut told);
        if let Some(event) = event
            && !matches!(timeout(patience, events.send(event)).await, Ok(Ok(())))
        {
            return;
        }
        tokio::select! {
            changed = frames.changed() => if changed.is_err() { return },
            () = events.closed() => return,
        }
    }
}

/// The time, and the sections that changed since; nothing before the first look.
fn news(frame: &Frame, told: &mut Parts) -> Option<String> {
    if frame.parts.is_empty() {
        return None;
    }
    let mut parts = BTreeMap::new();
    for (id, html) in &frame.parts {
        if told.get(id).is_none_or(|known| !Arc::ptr_eq(known, html)) {
            parts.insert(*id, &**html);
            told.insert(id, Arc::clone(html));
        }
    }
    Some(json!({"at": super::text::clock(frame.at), "parts": parts}).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn sampler(
        counter: &Arc<AtomicUsize>,
    ) -> impl FnMut() -> (UtcMicros, Vec<(&'static str, String)>) + use<> {
        let counter = Arc::clone(counter);
        move || {
            let n = counter.fetch_add(1, Relaxed);
            (UtcMicros(0), vec![("moves", n.to_string()), ("stays", "same\nline".to_owned())])
        }
    }

    fn live() -> Arc<Live> {
        Arc::new(Live::new(Duration::from_millis(2), Duration::from_millis(20)))
    }

    async fn eventually(condition: impl Fn() -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while !condition() {
            ticks.tick().await;
        }
    }

    #[tokio::test]
    async fn everything_first_and_then_what_changed() {
        let (live, counter) = (live(), Arc::new(AtomicUsize::new(0)));
        let mut events = live.join(sampler(&counter)).expect("a place");
        let first = events.recv().await.expect("an event");
        assert!(first.starts_with(r#"{"at":"00:00:00","parts":{"moves":""#), "{first}");
        assert!(first.ends_with(r#","stays":"same\nline"}}"#), "{first}");
        let second = events.recv().await.expect("an event");
        assert!(second.contains("moves") && !second.contains("stays"), "{second}");
    }

    #[tokio::test]
    async fn one_sampler_for_all_and_none_for_nobody() {
        let (live, counter) = (live(), Arc::new(AtomicUsize::new(0)));
        let mut all: Vec<_> = (0..PLACES).map(|_| live.join(sampler(&counter)).expect("a place")).collect();
        assert!(live.join(sampler(&counter)).is_none(), "every place is taken");
        for events in &mut all {
            assert!(events.recv().await.expect("an event").contains("stays"));
        }
        drop(all);
        eventually(|| live.frames.lock().expect("not poisoned").is_none()).await;
        eventually(|| live.places.available_permits() == PLACES).await;
        assert_eq!(Arc::strong_count(&counter), 1, "nobody looks, so nobody samples");
        assert!(live.join(sampler(&counter)).is_some());
    }

    #[tokio::test]
    async fn who_does_not_read_loses_his_place() {
        let (live, counter) = (live(), Arc::new(AtomicUsize::new(0)));
        let stuck = live.join(sampler(&counter)).expect("a place");
        eventually(|| live.places.available_permits() == PLACES).await;
        drop(stuck);
    }
}
