//! The one Redis server that is the right one now, wherever it is: what a `REDIS_URL` says, whom it leads to, the
//! connections to it, and whether it is still the one to use. What is kept there is the concern of [`crate::queue`].

mod address;
mod connector;
mod diagnosis;
mod error;
mod locate;
mod server;

pub use address::UnusableUrl;
pub use connector::{Connector, check_url, is_cluster};
pub use error::RedisFailure;
pub(crate) use locate::NotFound;
pub(crate) use server::{Connection, Dedicated, Server};
