//! `edge-infer`.
fn main() {}
