//! The journal from outside: a camp's day, and everything that may happen to it.
#![allow(clippy::unwrap_used, missing_docs)]

mod camp;
mod disk_full;
mod health;
mod machine;
mod old;
mod operators;
mod outbox;
mod power;
mod support;
mod tampering;
