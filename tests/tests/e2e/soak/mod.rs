//! Stories that take minutes, or kill things that others need: only `make soak` runs these.

mod argo;
mod clock;
mod crowd;
mod deaths;
mod follows;
mod harm;
mod helm;
mod origin;
mod rotation;
mod shortages;
mod table;
