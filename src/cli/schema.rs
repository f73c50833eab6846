//! `veval schema`

use super::args::{SchemaArguments, SchemaOf};
use super::print;
use crate::error::{Error, Result};
use crate::suite::schema as schema_of;

pub(super) fn schema(arguments: &SchemaArguments) -> Result<()> {
    let schema = schema_of(arguments.of == SchemaOf::Task);
    let text = serde_json::to_string_pretty(&schema).map_err(|e| Error::internal(format!("schema: {e}")))?;
    print(&(text + "\n"))
}
