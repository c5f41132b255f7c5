//! Configurations that ship with the program, for others to build upon.

use super::config::ConfigError;
use toml::{Table, Value};

/// Name and text of each preset.
const PRESETS: [(&str, &str); 2] = [
    ("paper", include_str!("../../presets/paper.toml")),
    ("recommended", include_str!("../../presets/recommended.toml")),
];

/// The names that [`text`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset `name` with the keys of `own` over it: tables are merged key by key, everything else
/// is replaced.
///
/// # Errors
/// A name that no preset has.
pub fn under(name: &str, own: Table) -> Result<Table, ConfigError> {
    let found = PRESETS.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = found else {
        let known: Vec<&str> = names().collect();
        let what = format!("no preset is called `{name}`; there are: {}", known.join(", "));
        return Err(ConfigError::Value(what));
    };
    let mut merged: Table =
        text.parse().map_err(|error| ConfigError::Value(format!("preset {name}: {error}")))?;
    merge(&mut merged, own);
    Ok(merged)
}

fn merge(base: &mut Table, own: Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
