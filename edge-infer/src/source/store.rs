//! Object stores by URL: S3, Google Cloud Storage, Azure, HTTP servers. Credentials and endpoints
//! come from the environment under the names that each cloud's own tools use.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use object_store::path::Path as Location;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, parse_url_opts};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::{Fetched, Listed};

/// Beginnings of the environment variables that stores may be configured by. Others are left
/// alone: the library would take a plain `REGION` or `TIMEOUT` for its own.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Variables that name an endpoint.
const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "GOOGLE_BASE_URL",
];

/// The stores met so far, each with its connections.
#[derive(Debug, Default)]
pub struct Stores {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Drives the connections; started with the first store.
    runtime: Option<Arc<Runtime>>,
    stores: HashMap<String, Arc<dyn ObjectStore>>,
}

/// One object in a store.
#[derive(Debug)]
pub struct Object {
    connection: Connection,
    location: Location,
    url: String,
    /// What the store's listing said of it, where it was found by one.
    stamp: Option<String>,
}

#[derive(Debug, Clone)]
struct Connection {
    runtime: Arc<Runtime>,
    store: Arc<dyn ObjectStore>,
}

impl Stores {
    /// The object that `url` names.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL or the store's configuration.
    pub fn object(&self, url: &str) -> Result<Object, String> {
        let (connection, location) = self.connect(&parse(url)?)?;
        Ok(Object { connection, location, url: url.to_string(), stamp: None })
    }

    /// The objects under the prefix that `url` names, and their paths below it, in the store's own
    /// order. A prefix ends where a part of the path does, as a folder.
    ///
    /// # Errors
    /// As [`Stores::object`]; an item is an error when the store stops answering.
    pub fn list(&self, url: &str) -> Result<impl Iterator<Item = Listed> + Send + use<>, String> {
        let url = parse(url)?;
        let (connection, prefix) = self.connect(&url)?;
        let mut answers = connection.store.list(Some(&prefix));
        let mut failed = false;
        Ok(std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let answer = connection.runtime.block_on(answers.next())?;
            let found = answer.map_err(|error| format!("the store cannot be listed: {error}"));
            failed = found.is_err();
            Some(found.map(|meta| below(&connection, &url, &prefix, meta)))
        })
        // The stream of answers must not be asked again behind its end.
        .fuse())
    }

    /// The store that `url` lies in, opened once, and the place of the object in it.
    fn connect(&self, url: &Url) -> Result<(Connection, Location), String> {
        let (_, location) = ObjectStoreScheme::parse(url).map_err(|error| error.to_string())?;
        // No code can panic while it holds the lock; a poisoned one is as good.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &open.runtime {
            Some(runtime) => runtime.clone(),
            None => {
                let started = Builder::new_multi_thread().worker_threads(1).enable_all().build();
                let started = started.map_err(|error| format!("cannot use the network: {error}"));
                open.runtime.insert(Arc::new(started?)).clone()
            }
        };
        let key = store_key(url);
        let store = match open.stores.get(&key) {
            Some(store) => store.clone(),
            None => {
                let (store, _) =
                    parse_url_opts(url, options(url)).map_err(|error| error.to_string())?;
                let store: Arc<dyn ObjectStore> = store.into();
                open.stores.insert(key, store.clone());
                store
            }
        };
        Ok((Connection { runtime, store }, location))
    }
}

impl Object {
    /// The object's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// See [`super::Photograph::stamp`].
    ///
    /// # Errors
    /// A sentence with the store's answer.
    pub fn stamp(&self) -> Result<String, String> {
        if let Some(stamp) = &self.stamp {
            return Ok(stamp.clone());
        }
        let head = self.connection.store.head(&self.location);
        self.connection.runtime.block_on(head).map(|meta| stamp(&meta)).map_err(unreadable)
    }

    /// See [`super::Photograph::read`].
    ///
    /// # Errors
    /// A sentence with the store's answer.
    pub fn read(&self, max_bytes: usize) -> Result<Fetched, String> {
        self.connection.runtime.block_on(async {
            let answer = self.connection.store.get(&self.location).await.map_err(unreadable)?;
            let stamp = stamp(&answer.meta);
            let mut bytes = Vec::new();
            let mut chunks = answer.into_stream();
            while let Some(chunk) = chunks.next().await {
                bytes.extend_from_slice(&chunk.map_err(unreadable)?);
                if bytes.len() > max_bytes {
                    bytes.truncate(max_bytes + 1);
                    break;
                }
            }
            Ok(Fetched { bytes, stamp })
        })
    }
}

fn unreadable(error: object_store::Error) -> String {
    format!("the object cannot be read: {error}")
}

/// A listed object with its own URL and its path below the prefix.
fn below(
    connection: &Connection,
    url: &Url,
    prefix: &Location,
    meta: ObjectMeta,
) -> (Object, PathBuf) {
    let stamp = Some(stamp(&meta));
    let parts: Vec<String> = meta
        .location
        .prefix_match(prefix)
        .map(|parts| parts.map(|part| part.as_ref().to_string()).collect())
        .unwrap_or_default();
    let mut own = url.clone();
    if let Ok(mut path) = own.path_segments_mut() {
        path.pop_if_empty().extend(&parts);
    }
    let connection = connection.clone();
    let object = Object { connection, location: meta.location, url: own.into(), stamp };
    (object, parts.iter().collect())
}

/// The entity tag, or size and time of change where the store has none. Quotes and the mark of a
/// weak tag are dropped, since a listing and an answer may differ in them.
fn stamp(meta: &ObjectMeta) -> String {
    match &meta.e_tag {
        Some(tag) => tag.trim_start_matches("W/").trim_matches('"').to_string(),
        None => format!("{}-{}", meta.size, meta.last_modified.timestamp_micros()),
    }
}

/// Parses a URL that can be recorded beside a result: nothing secret in it.
fn parse(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|error| format!("the URL is not valid: {error}"))?;
    if parsed.password().is_some() {
        return Err("a URL must not hold a password; give it in the environment".to_string());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("a URL must not hold `?` or `#`; write them as %3F and %23".to_string());
    }
    Ok(parsed)
}

/// Everything before the path; for HTTP also its first part, which may be a bucket.
fn store_key(url: &Url) -> String {
    let before = &url[..url::Position::BeforePath];
    let first = url.path_segments().and_then(|mut parts| parts.next()).unwrap_or_default();
    if url.scheme().starts_with("http") { format!("{before}/{first}") } else { before.to_string() }
}

/// The configuration in the environment. A connection without TLS is made only where the URL or an
/// endpoint asks for one.
fn options(url: &Url) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| VARIABLES.iter().any(|beginning| name.starts_with(beginning)))
        .collect();
    let endpoint = options
        .iter()
        .any(|(name, value)| ENDPOINTS.contains(&name.as_str()) && value.starts_with("http://"));
    if endpoint || url.scheme() == "http" {
        options.push(("allow_http".to_string(), "true".to_string()));
    }
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_with_secrets_are_refused() {
        let stores = Stores::default();
        for (url, reason) in [
            ("https://user:secret@host/a.jpg", "password"),
            ("https://host/a.jpg?X-Amz-Signature=1", "`?`"),
            ("s3://bucket/a#b.jpg", "`#`"),
            ("s3:///a.jpg", "S3"),
            ("ftp://host/a.jpg", "ftp"),
            ("http://[", "not valid"),
        ] {
            let message = stores.object(url).unwrap_err();
            let said = message.to_lowercase().contains(&reason.to_lowercase());
            assert!(said, "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_store_is_opened_once() {
        let key = |url| store_key(&Url::parse(url).unwrap());
        assert_eq!(key("s3://bucket/a/b.jpg"), key("s3://bucket/c.jpg"));
        assert_ne!(key("s3://bucket/a.jpg"), key("s3://other/a.jpg"));
        let path_style = "https://s3.eu-west-1.amazonaws.com";
        assert_ne!(key(&format!("{path_style}/a/b.jpg")), key(&format!("{path_style}/c/b.jpg")));
    }

    #[test]
    fn a_folder_of_files_is_listed_with_urls_that_lead_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        for name in ["a.jpg", "b c%.jpg", "d/é#.jpg"] {
            std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.join(name), name).unwrap();
        }
        let stores = Stores::default();
        let url = Url::from_directory_path(&folder).unwrap();
        let mut found: Vec<_> = stores.list(url.as_str()).unwrap().map(Result::unwrap).collect();
        found.sort_by(|a, b| a.1.cmp(&b.1));
        let names: Vec<_> = found.iter().map(|(_, below)| below.to_str().unwrap()).collect();
        assert_eq!(names, ["a.jpg", "b c%.jpg", "d/é#.jpg"]);
        let nothing = folder.join("nothing");
        let mut nothing = stores.list(&format!("file://{}", nothing.display())).unwrap();
        assert!(nothing.next().is_none() && nothing.next().is_none());
        for (object, below) in &found {
            let again = stores.object(object.url()).unwrap();
            let fetched = again.read(1000).unwrap();
            assert_eq!(fetched.bytes, below.to_str().unwrap().as_bytes());
            assert_eq!(again.stamp().unwrap(), object.stamp().unwrap());
            assert_eq!(fetched.stamp, object.stamp().unwrap());
            assert_eq!(again.read(2).unwrap().bytes.len(), 3.min(fetched.bytes.len()));
        }
    }
}
