//! Object stores in a program built without the feature `cloud`: a clear refusal.

use std::convert::Infallible;

use super::{Fetched, Listed};

/// The stores: there are none.
#[derive(Debug, Default)]
pub struct Stores(());

/// An object in a store: there is none.
#[derive(Debug)]
pub struct Object(Infallible);

const ABSENT: &str = "this program was built without object stores; build it with \
    `cargo build --release -p edge-infer --features cloud`";

impl Stores {
    /// The object that `url` names.
    ///
    /// # Errors
    /// Always.
    pub fn object(&self, _url: &str) -> Result<Object, String> {
        Err(ABSENT.to_string())
    }

    /// The objects under the prefix that `url` names, and their paths below it.
    ///
    /// # Errors
    /// Always.
    pub fn list(&self, _url: &str) -> Result<std::iter::Empty<Listed>, String> {
        Err(ABSENT.to_string())
    }
}

impl Object {
    /// The object's URL.
    pub fn url(&self) -> &str {
        match self.0 {}
    }

    /// See [`super::Photograph::stamp`].
    ///
    /// # Errors
    /// Never.
    pub fn stamp(&self) -> Result<String, String> {
        match self.0 {}
    }

    /// See [`super::Photograph::read`].
    ///
    /// # Errors
    /// Never.
    pub fn read(&self, _max_bytes: usize) -> Result<Fetched, String> {
        match self.0 {}
    }
}
