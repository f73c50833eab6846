//! Regular expressions in records: written as their source.

/// One expression.
pub(super) mod one {
    use fancy_regex::Regex;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(regex: &Regex, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(regex.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
        Regex::new(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A list of expressions.
pub(super) mod many {
    use fancy_regex::Regex;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(list: &[Regex], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(Regex::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Regex>, D::Error> {
        let sources = Vec::<String>::deserialize(from)?;
        sources.iter().map(|source| Regex::new(source).map_err(D::Error::custom)).collect()
    }
}
