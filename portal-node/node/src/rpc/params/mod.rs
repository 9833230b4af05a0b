//! Parameters of a JSON-RPC request: by position or by name, each parsed into its type, and an error that says which
//! one is wrong and what was expected.

use alloy_primitives::B256;
use bytes::Bytes;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use overlay::Enr;
use serde_json::Value;

use super::error::invalid_params;

#[cfg(test)]
mod tests;

/// Most characters of a wrong value that an error repeats.
const MAX_QUOTED_CHARS: usize = 60;

/// The parameters of one request under the names that the specification gives them.
pub(crate) struct Arguments {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl Arguments {
    /// Sorts the parameters by `names`.
    ///
    /// # Errors
    /// Invalid params (-32602) for parameters that are neither a list nor an object, for too many and for unknown ones.
    pub(crate) fn new(params: &Params<'_>, names: &'static [&'static str]) -> Result<Self, ErrorObjectOwned> {
        let given: Value = match params.as_str() {
            None => Value::Null,
            Some(text) => serde_json::from_str(text).map_err(|error| invalid_params(format!("not JSON: {error}")))?,
        };
        let values = match given {
            Value::Null => Vec::new(),
            Value::Array(values) => {
                if values.len() > names.len() {
                    return Err(invalid_params(format!(
                        "{} parameters given, at most {} are taken{}",
                        values.len(),
                        names.len(),
                        listed(names)
                    )));
                }
                values
            }
            Value::Object(mut fields) => {
                let values = names.iter().map(|name| fields.remove(*name).unwrap_or(Value::Null)).collect();
                if let Some(unknown) = fields.keys().next() {
                    return Err(invalid_params(format!("unknown parameter {}{}", quoted_text(unknown), listed(names))));
                }
                values
            }
            other => {
                return Err(invalid_params(format!(
                    "parameters have to be a list or an object, got {}",
                    quoted(&other)
                )));
            }
        };
        Ok(Self { names, values })
    }

    /// The parameter `name`, which has to be given.
    ///
    /// # Errors
    /// Invalid params (-32602) if it is missing or not what its type expects.
    pub(crate) fn required<T: Parameter>(&self, name: &'static str) -> Result<T, ErrorObjectOwned> {
        self.optional(name)?
            .ok_or_else(|| invalid_params(format!("{} is missing: expected {}", self.label(name), T::EXPECTED)))
    }

    /// The parameter `name`, `None` if it is left out or `null`.
    ///
    /// # Errors
    /// Invalid params (-32602) if it is given and not what its type expects.
    pub(crate) fn optional<T: Parameter>(&self, name: &'static str) -> Result<Option<T>, ErrorObjectOwned> {
        match self.position(name).and_then(|position| self.values.get(position)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::parse(value).map(Some).map_err(|Misfit(why)| {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                invalid_params(format!("{}: expected {}, got {}{why}", self.label(name), T::EXPECTED, quoted(value)))
            }),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    fn label(&self, name: &str) -> String {
        match self.position(name) {
            Some(position) => format!("parameter {} ({name})", position + 1),
            None => format!("parameter {name}"),
        }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

fn quoted(value: &Value) -> String {
    quoted_text(&value.to_string())
}

fn quoted_text(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

/// Why a value does not fit, where that says more than what was expected.
pub(crate) struct Misfit(Option<String>);

impl Misfit {
    pub(crate) fn because(why: impl ToString) -> Self {
        Self(Some(why.to_string()))
    }
}

/// A type that a parameter can have.
pub(crate) trait Parameter: Sized {
    /// What a caller has to send, as the end of "expected …".
    const EXPECTED: &'static str;

    /// Takes the value.
    fn parse(value: &Value) -> Result<Self, Misfit>;
}

pub(crate) fn text(value: &Value) -> Result<&str, Misfit> {
    value.as_str().ok_or(Misfit(None))
}

fn hex_bytes(value: &Value) -> Result<Vec<u8>, Misfit> {
    let digits = text(value)?.strip_prefix("0x").ok_or_else(|| Misfit::because("no 0x at the start"))?;
    hex::decode(digits).map_err(Misfit::because)
}

impl Parameter for Bytes {
    const EXPECTED: &'static str = "bytes as a hex string that begins with 0x";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        hex_bytes(value).map(Bytes::from)
    }
}

impl Parameter for B256 {
    const EXPECTED: &'static str = "32 bytes as 0x and 64 hex digits";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        let bytes = hex_bytes(value)?;
        B256::try_from(bytes.as_slice()).map_err(|_| Misfit::because(format!("{} bytes", bytes.len())))
    }
}

impl Parameter for Enr {
    const EXPECTED: &'static str = "a node record as text that begins with enr:";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        let record = text(value)?;
        if !record.starts_with("enr:") {
            return Err(Misfit::because("no enr: at the start"));
        }
        record.parse().map_err(|error: String| Misfit::because(error))
    }
}

impl Parameter for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        value.as_bool().ok_or(Misfit(None))
    }
}

/// A limit in bytes a second; `None` lifts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

impl Rate {
    /// What stands for no limit.
    pub(crate) const NONE: &'static str = "none";
}

impl Parameter for Rate {
    const EXPECTED: &'static str = "bytes a second as a whole number, or \"none\"";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        match value.as_str() {
            Some(Self::NONE) => Ok(Self(None)),
            _ => value.as_u64().map(|rate| Self(Some(rate))).ok_or(Misfit(None)),
        }
    }
}

impl Parameter for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        value.as_u64().ok_or(Misfit(None))
    }
}

impl Parameter for u16 {
    const EXPECTED: &'static str = "a whole number from 0 to 65535";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        value.as_u64().and_then(|number| number.try_into().ok()).ok_or(Misfit(None))
    }
}

impl Parameter for std::net::SocketAddr {
    const EXPECTED: &'static str = "an address and a port, such as 192.0.2.1:9009";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        // The specification's pattern begins with a slash.
        let address = text(value)?;
        address.strip_prefix('/').unwrap_or(address).parse().map_err(Misfit::because)
    }
}

/// Logarithmic distances of a FINDNODES request.
pub(crate) struct Distances(pub(crate) Vec<u16>);

impl Parameter for Distances {
    const EXPECTED: &'static str = "a list of 1 to 256 different distances from 0 to 256";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        const MAX_DISTANCES: usize = 256;
        const MAX_DISTANCE: u16 = 256;
        let items = value.as_array().ok_or(Misfit(None))?;
        if items.is_empty() || items.len() > MAX_DISTANCES {
            return Err(Misfit::because(format!("{} distances", items.len())));
        }
        let mut distances = Vec::with_capacity(items.len());
        for item in items {
            let distance = u16::parse(item)?;
            if distance > MAX_DISTANCE {
                return Err(Misfit::because(format!("{distance} is more than {MAX_DISTANCE}")));
            }
            if distances.contains(&distance) {
                return Err(Misfit::because(format!("{distance} is there twice")));
            }
            distances.push(distance);
        }
        Ok(Self(distances))
    }
}

/// Content items of an OFFER: key and value of each.
pub(crate) struct ContentItems(pub(crate) Vec<(Bytes, Bytes)>);

impl Parameter for ContentItems {
    const EXPECTED: &'static str =
        "a list of 1 to 64 items, each a list of content key and content value as hex strings";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        const MAX_ITEMS: usize = 64;
        let items = value.as_array().ok_or(Misfit(None))?;
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(Misfit::because(format!("{} items", items.len())));
        }
        items
            .iter()
            .enumerate()
            .map(|(position, item)| match item.as_array().map(Vec::as_slice) {
                Some([key, value]) => Ok((Bytes::parse(key)?, Bytes::parse(value)?)),
                _ => Err(Misfit::because(format!("item {position} is not a list of two"))),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A JSON object that is looked at further on.
pub(crate) struct JsonObject(pub(crate) serde_json::Map<String, Value>);

impl Parameter for JsonObject {
    const EXPECTED: &'static str = "an object";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        value.as_object().cloned().map(Self).ok_or(Misfit(None))
    }
}
