//! What stands for buckets in a build without them: there is none, and whoever names one is told why.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::error::Reason;
use crate::location::{ListedFile, ObjectPath};
use crate::options::Options;

/// A bucket, of which there is none.
#[derive(Debug)]
pub(crate) enum Bucket {}

impl Bucket {
    /// That there are none.
    pub(crate) fn open(_: &Url, _: &Options) -> Result<(Self, ObjectPath), Reason> {
        Err(Reason::BuiltWithoutBuckets)
    }

    pub(crate) async fn archives(&self, _: &ObjectPath) -> Result<BTreeMap<String, ListedFile>, Reason> {
        match *self {}
    }

    pub(crate) async fn address(&self, _: &ObjectPath) -> Result<Url, Reason> {
        match *self {}
    }
}
