//! HTTP/2: streams between callers, an origin and laptops.

mod copies;
mod endings;
mod laptop;
mod laptop_failures;
mod limits;
mod origin;
pub(crate) mod peer;
