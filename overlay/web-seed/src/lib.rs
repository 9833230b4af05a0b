//! Web seeds: mirrors of era1 and ere files, on HTTP servers and in S3-compatible buckets, as sources of block ranges.
//!
//! A mirror needs to know nothing but `Range` requests. The index in an archive says where the records of consecutive
//! blocks lie; their bytes come in one request and are cut into records as they come, so memory holds one record.
//! Nothing that a mirror sends is trusted: a caller verifies each block, and the error names the file and the block.
//!
//! | module | what |
//! |---|---|
//! | [`seed`] | a mirror and the files that it lists |
//! | [`archive`] | an archive on it: single records, and ranges of blocks |
//! | `listing`, `bucket` | what a web server's directory page, or a bucket, has |
//! | `mirror` | one request, and what its answer has to say |
//! | `download` | a range, whatever it takes: again after a break, later when the server is busy |
//! | `source` | the few bytes here and there that an index takes |
//! | [`records`] | records out of pieces of any size |
//! | [`depot`] | archives that are served from a bucket or a web server: listed again and again, read as they are asked for |
//! | [`pieces`] | what is kept of them in memory |
//! | `object` | one of them as positioned reads, and what is fetched ahead |
//! | `place` | what a URL stands for |
//! | [`redirects`] | which redirects of a mirror are followed |
//! | `location` | where a file is, in either |
//! | `no_bucket` | what stands for `bucket` in a build without the feature `buckets` |
//! | `health` | a server that does not answer is not waited for each time |

pub mod archive;
pub mod depot;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod options;
pub mod pieces;
pub mod records;
pub mod redirects;
pub mod seed;

#[cfg(feature = "buckets")]
mod bucket;
#[cfg(not(feature = "buckets"))]
#[path = "no_bucket.rs"]
mod bucket;
mod cryptography;
mod download;
mod health;
mod listing;
mod location;
mod mirror;
mod object;
mod place;
mod source;

pub use archive::{Reading, WebArchive};
pub use depot::{Depot, Listed};
pub use error::{Error, NoArchive, Reason};
pub use location::without_secrets;
pub use options::{Options, S3Options, Waiting};
pub use pieces::PieceCache;
pub use records::Record;
pub use seed::{SeedFile, WebSeed};
