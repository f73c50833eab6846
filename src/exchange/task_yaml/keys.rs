//! What becomes of each key that the harness knows: one table for what is read, told and refused.

/// What happens to a key.
pub(super) enum Fate {
    /// Its meaning is carried over by the part that reads it.
    Read,
    /// Likewise, and a Python function within loses its part alone.
    ReadInParts,
    /// It says nothing about scores here.
    Silent,
    /// It is left out, and this is what that means.
    Left(&'static str),
    /// The task cannot be translated with it; this is what to do.
    Refused(&'static str),
}

/// A key of the harness.
pub(super) struct Key {
    pub name: &'static str,
    pub fate: Fate,
    /// What to do where a Python function stands behind it.
    pub function: &'static str,
}

const fn key(name: &'static str, fate: Fate, function: &'static str) -> Key {
    Key { name, fate, function }
}

const NO_FUNCTION: &str = "write the value itself";

/// Keys of a task.
pub(super) const KEYS: &[Key] = &[
    key("task", Fate::Read, NO_FUNCTION),
    key("task_alias", Fate::Read, NO_FUNCTION),
    key("metadata", Fate::Read, NO_FUNCTION),
    key("dataset_path", Fate::Read, NO_FUNCTION),
    key("dataset_name", Fate::Read, NO_FUNCTION),
    key("dataset_kwargs", Fate::Read, NO_FUNCTION),
    key("training_split", Fate::Read, NO_FUNCTION),
    key("validation_split", Fate::Read, NO_FUNCTION),
    key("test_split", Fate::Read, NO_FUNCTION),
    key("fewshot_split", Fate::Read, NO_FUNCTION),
    key("doc_to_text", Fate::Read, "write the prompt as a Jinja template over the columns"),
    key("doc_to_target", Fate::Read, "write the answer as a Jinja expression over the columns"),
    key("doc_to_choice", Fate::Read, "write the choices as a Jinja expression over the columns"),
    key("description", Fate::Read, "write the text itself"),
    key("target_delimiter", Fate::Read, NO_FUNCTION),
    key("fewshot_delimiter", Fate::Read, NO_FUNCTION),
    key("fewshot_config", Fate::Read, "write the samples into a file of rows and name it as `shots_file` in [data]"),
    key("num_fewshot", Fate::Read, NO_FUNCTION),
    key("gen_prefix", Fate::Read, "write the text itself"),
    key("output_type", Fate::Read, NO_FUNCTION),
    key("generation_kwargs", Fate::Read, NO_FUNCTION),
    key("metric_list", Fate::ReadInParts, "choose among the metrics that are here"),
    key("filter_list", Fate::ReadInParts, "write the filter as a regular expression"),
    key("repeats", Fate::Read, NO_FUNCTION),
    key(
        "tag",
        Fate::Left(
            "a task file has no tags: a suite that names the tasks, or `subsets` of one task, gives their score together",
        ),
        NO_FUNCTION,
    ),
    key("should_decontaminate", Fate::Left("nothing here looks for training text among the items"), NO_FUNCTION),
    key(
        "doc_to_decontamination_query",
        Fate::Left("nothing here looks for training text among the items"),
        "leave it out",
    ),
    key("include", Fate::Silent, NO_FUNCTION),
    key("task_list", Fate::Silent, NO_FUNCTION),
    key("group_alias", Fate::Silent, NO_FUNCTION),
    key(
        "process_docs",
        Fate::Refused("describe the columns it makes as Jinja expressions in `fields` of [data]"),
        "describe the columns it makes as Jinja expressions in `fields` of [data], or write the rows it yields into a .jsonl file",
    ),
    key(
        "process_results",
        Fate::Refused("choose among the metrics that are here"),
        "choose among the metrics that are here; the record of a run keeps every answer for scoring elsewhere",
    ),
    key(
        "custom_dataset",
        Fate::Refused("write the rows into a .jsonl file and name it as `file` in [data]"),
        "write the rows it yields into a .jsonl file and name it as `file` in [data]",
    ),
    key("use_prompt", Fate::Refused("write the prompt of promptsource that it names as `doc_to_text`"), NO_FUNCTION),
    key(
        "doc_to_image",
        Fate::Refused("there are no images here: leave the task to the harness"),
        "leave the task to the harness",
    ),
    key(
        "doc_to_audio",
        Fate::Refused("there is no sound here: leave the task to the harness"),
        "leave the task to the harness",
    ),
    key("unsafe_code", Fate::Read, NO_FUNCTION),
];

pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
