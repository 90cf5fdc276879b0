//! What a single value may be, and how its text is read.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use broker_topology::Kind;
use ipnet::IpNet;
use toml::{Table, Value};

use super::{Secret, units};

/// A type that a value can be read as.
pub(super) trait FromValue: Sized {
    /// # Errors
    /// With what was wanted.
    fn from_value(value: &Value) -> Result<Self, String>;
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| "must be a text in quotes".to_owned())
    }
}

impl FromValue for Secret {
    fn from_value(value: &Value) -> Result<Self, String> {
        String::from_value(value).map(Self::new)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_str().filter(|path| !path.is_empty()).map(Self::from).ok_or_else(|| "must be the path of a file".to_owned())
    }
}

impl FromValue for Table {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_table().cloned().ok_or_else(|| "must be a table".to_owned())
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, String> {
        let wanted =
            |what: &str| format!("{what}: write a duration with its unit, such as \"30s\", \"5m\", \"1h 30m\" or \"7d\"");
        match value {
            Value::Integer(_) | Value::Float(_) => Err(wanted("has no unit")),
            _ => value.as_str().and_then(units::duration).ok_or_else(|| wanted("is not a duration")),
        }
    }
}

/// A number of bytes, written as `"1MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Size(pub(super) u64);

impl FromValue for Size {
    fn from_value(value: &Value) -> Result<Self, String> {
        let wanted = |what: &str| format!("{what}: write a size with its unit, such as \"512KiB\" or \"1MiB\"");
        match value {
            Value::Integer(_) | Value::Float(_) => Err(wanted("has no unit")),
            _ => value.as_str().and_then(units::size).map(Self).ok_or_else(|| wanted("is not a size")),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "must be true or false".to_owned())
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        number.ok_or_else(|| format!("must be a whole number from 0 to {}", Self::MAX))
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self, String> {
        let whole = || value.as_integer().and_then(|number| i32::try_from(number).ok()).map(Self::from);
        value.as_float().or_else(whole).ok_or_else(|| "must be a number".to_owned())
    }
}

impl FromValue for i32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| "must be a whole number of 32 bits".to_owned())
    }
}

impl FromValue for NonZeroU32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        u32::from_value(value).ok().and_then(Self::new).ok_or_else(|| "must be a whole number from 1".to_owned())
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Result<Self, String> {
        let address = value.as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned())
    }
}

impl FromValue for IpNet {
    fn from_value(value: &Value) -> Result<Self, String> {
        let net = value.as_str().and_then(|text| text.parse().ok().or_else(|| text.parse().ok().map(|one: IpAddr| one.into())));
        net.ok_or_else(|| "must be a network such as \"10.0.0.0/8\", or an address".to_owned())
    }
}

impl FromValue for Kind {
    fn from_value(value: &Value) -> Result<Self, String> {
        Self::parse(&String::from_value(value)?).map_err(|error| format!("is wrong: {error}"))
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_array().ok_or_else(|| "must be a list in brackets".to_owned())?.iter().map(T::from_value).collect()
    }
}

/// One value of a fixed set of words: an enum with its words, read and written as such.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in `warren.toml`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::config::value::FromValue for $name {
            fn from_value(value: &toml::Value) -> Result<Self, String> {
                let word = value.as_str().and_then(|text| Self::ALL.iter().find(|known| known.as_str() == text));
                word.copied().ok_or_else(|| format!("must be one of {}", [$(concat!("\"", $word, "\"")),+].join(", ")))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(super) use words;
