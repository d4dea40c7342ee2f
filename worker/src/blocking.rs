//! Work that blocks, taken off the async threads: questions to Kafka's client, reading files. Called wherever the answer is awaited.
//!
//! What must stay true: a panic of the work is an error of whoever asked, and ends nothing else.

/// What the work answers.
///
/// # Errors
/// It fails or panics.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await?.map_err(Into::into)
}
