//! The status page at `/`: one document from this binary, no build step, nothing from elsewhere. Merged into the listener of `http`.
//!
//! `document` is the page, `sections` what moves on it, `view` where the figures come from, `database` what is asked for them,
//! `live` how an open page keeps up, `movement` and `chart` the line of a chosen game.
//!
//! What must stay true: it only looks; it is complete without a script; text of records is escaped by the template, and made plain
//! before (`text`); looking is bounded and cheap, however many look.

mod chart;
mod database;
mod document;
mod live;
mod movement;
mod sections;
mod sparkline;
mod text;
mod view;

pub(crate) use database::one_connection;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::config::{Config, KafkaConfig};
use crate::progress::Progress;
use crate::source::kafka::group_of;
use database::{Database, Seen};
use document::Process;
use live::Live;
use movement::{Choice, Movements};
use sections::SECTIONS;
use view::View;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("page.svg");

/// The page loads its own style and script, asks this server alone, and is shown in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How soon a browser that lost its events asks again.
const RETRY: Duration = Duration::from_secs(2);

/// What the handlers share.
#[derive(Debug)]
pub struct Page {
    kafka: KafkaConfig,
    pipelines: Arc<[Arc<Progress>]>,
    database: Arc<Database>,
    movements: Movements,
    live: Arc<Live>,
    process: Process,
}

/// The page's routes; none where it is switched off.
pub fn router<S: Clone + Send + Sync + 'static>(page: Option<Arc<Page>>) -> Router<S> {
    let Some(page) = page else { return Router::new() };
    Router::new()
        .route("/", get(whole))
        .route("/movement", get(movement_alone))
        .route("/events", get(events))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/page.svg", get(|| asset("image/svg+xml", ICON)))
        .with_state(page)
}

impl Page {
    /// The page of these pipelines, unless it is switched off. Asks nothing before somebody looks.
    ///
    /// # Errors
    /// The database's configuration cannot be used.
    pub async fn new(config: &Config, pipelines: Arc<[Arc<Progress>]>) -> anyhow::Result<Option<Arc<Self>>> {
        if !config.http.page {
            return Ok(None);
        }
        let database = Database::new(&config.database).await.context("the status page")?;
        let process = Process {
            group: config.kafka.group.clone(),
            database: database.store.name(),
            started: clock::now(),
            assets: fingerprint(),
        };
        Ok(Some(Arc::new(Self {
            kafka: config.kafka.clone(),
            pipelines,
            database: Arc::new(database),
            movements: Movements::default(),
            live: Arc::default(),
            process,
        })))
    }

    fn view(&self, seen: Seen) -> View {
        View::take(&self.pipelines, |topic| group_of(&self.kafka, topic), seen, clock::now())
    }

    /// The view and the movement that somebody chose.
    async fn look(&self, choice: &Choice) -> (View, Arc<movement::Movement>) {
        let seen = self.database.fresh().await;
        let games = seen.games.value.clone().unwrap_or_default();
        let movement = self.movements.of(&self.database.store, &games, choice).await;
        (self.view(seen), movement)
    }
}

/// The choice in the address; one that cannot be read is none.
type Chosen = Result<Query<Choice>, QueryRejection>;

fn choice(chosen: Chosen) -> Choice {
    chosen.map(|Query(choice)| choice).unwrap_or_default()
}

async fn whole(State(page): State<Arc<Page>>, chosen: Chosen) -> Response {
    let choice = choice(chosen);
    let (view, movement) = page.look(&choice).await;
    html(document::render(&page.process, &view, &choice, &movement).into_string())
}

/// The chart and its table, for a page that is open already.
async fn movement_alone(State(page): State<Arc<Page>>, chosen: Chosen) -> Response {
    let (view, movement) = page.look(&choice(chosen)).await;
    html(document::figure(&view, &movement).into_string())
}

async fn events(State(page): State<Arc<Page>>) -> Response {
    let looker = Arc::clone(&page);
    let sample = move || {
        looker.database.ask();
        let view = looker.view(looker.database.seen());
        let sections = SECTIONS.iter().map(|section| (section.id, (section.content)(&view).into_string()));
        (view.now, sections.collect())
    };
    let Some(receiver) = page.live.join(sample) else {
        let words = "as many look on as may; the page itself can be reloaded\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], words).into_response();
    };
    let events = stream::unfold(receiver, |mut receiver| async move {
        let data = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Event::default().retry(RETRY).data(data)), receiver))
    });
    // A proxy that collects the answer before it passes it on would hold everything back.
    ([(HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(events)).into_response()
}

fn html(body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}

/// The address of an asset has the fingerprint of its content, so it never changes.
async fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    (headers, content).into_response()
}

fn fingerprint() -> String {
    let mut hash = Sha256::new();
    [STYLE, SCRIPT, ICON].iter().for_each(|part| hash.update(part));
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
