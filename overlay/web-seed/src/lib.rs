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

pub mod archive;
pub mod error;
pub mod options;
pub mod records;
pub mod seed;

mod bucket;
mod download;
mod listing;
mod mirror;
mod source;

pub use archive::{Reading, WebArchive};
pub use error::{Error, Reason};
pub use options::{Options, S3Options};
pub use records::Record;
pub use seed::{SeedFile, WebSeed};
