//! Trust lists from an HTTP mirror: a folder with the files' names as [`super::file_name`] gives them.

use std::sync::Arc;

use bytes::Bytes;
use cairn_web_seed::without_secrets;
use content_types::trust::{TrustError, TrustListKind};
use reqwest::Url;

use super::{TrustStore, TrustStoreError, file_name};
use crate::http::{self, HttpError};
use crate::workers::{Stopping, blocking};

/// Why a mirror's list was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The request failed.
    #[error("{}: {source}", without_secrets(url.as_str()))]
    Http {
        /// What was asked for.
        url: Url,
        /// Why it failed.
        source: HttpError,
    },
    /// The mirror's file is not the list that the chain's root vouches for.
    #[error("{}: {source}", without_secrets(url.as_str()))]
    Refused {
        /// What was asked for.
        url: Url,
        /// The rule it breaks.
        source: TrustError,
    },
    /// The address cannot be one of a folder.
    #[error("{} is no address that file names can be added to", without_secrets(.0.as_str()))]
    Address(Url),
    /// The list is good and in use, but was not saved.
    #[error(transparent)]
    Save(#[from] TrustStoreError),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl TrustStore {
    /// Fetches every list that is missing from the folder at `mirror`. Each is checked against the chain's root, saved
    /// and in use on return.
    ///
    /// # Errors
    /// [`MirrorError`] for the first list that could not be had; those before it are in use.
    pub async fn fetch_from_mirror(self: &Arc<Self>, mirror: &Url) -> Result<Vec<TrustListKind>, MirrorError> {
        let mut fetched = Vec::new();
        for (kind, _) in self.missing() {
            self.fetch_list(mirror, kind).await?;
            fetched.push(kind);
        }
        Ok(fetched)
    }

    async fn fetch_list(self: &Arc<Self>, mirror: &Url, kind: TrustListKind) -> Result<(), MirrorError> {
        let mut url = mirror.clone();
        url.path_segments_mut()
            .map_err(|()| MirrorError::Address(mirror.clone()))?
            .pop_if_empty()
            .push(file_name(kind));
        let bytes = download(url.clone(), kind.max_len())
            .await
            .map_err(|source| MirrorError::Http { url: url.clone(), source })?;
        let trust = Arc::clone(self);
        let saved = blocking(move || trust.import(kind, &bytes))
            .await?
            .map_err(|source| MirrorError::Refused { url, source })?;
        Ok(saved?)
    }
}

async fn download(url: Url, limit: usize) -> Result<Bytes, HttpError> {
    let response = http::mirror_client(&url)?.get(url).send().await?;
    http::read_bounded(response, limit).await
}
