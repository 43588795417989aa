//! What takes minutes, or kills what others need: only `make soak` runs these.

mod deaths;
mod follows;
mod harm;
mod helm;
mod rotation;
